//! Raw Node-API callbacks: about a quarter of the cost of the derive macro.

use napi::bindgen_prelude::*;
use napi::{Env, sys};
use std::ffi::{CStr, CString, c_void};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::{ptr, slice};

/// One raw operation as JavaScript and the typings see it.
pub struct HotOp {
    pub name: &'static str,
    /// Its TypeScript declaration.
    pub typing: fn() -> String,
    pub callback: unsafe extern "C" fn(sys::napi_env, sys::napi_callback_info) -> sys::napi_value,
}

/// What is thrown in JavaScript: a code to branch on and a sentence to read.
pub struct Failure {
    pub code: &'static CStr,
    pub message: String,
}

impl From<String> for Failure {
    fn from(message: String) -> Failure {
        let code = if storage::is_out_of_memory(&message) { c"OUT_OF_MEMORY" } else { c"ENGINE_REFUSED" };
        Failure { code, message }
    }
}

impl From<&str> for Failure {
    fn from(message: &str) -> Failure {
        Failure::from(message.to_owned())
    }
}

/// A type that JavaScript may pass.
pub trait Argument: Sized {
    /// TypeScript's word for it.
    const TYPING: &'static str;
    /// Whether it may be left out.
    const OPTIONAL: bool = false;
    /// None when `value` has another type.
    fn read(env: sys::napi_env, value: sys::napi_value) -> Option<Self>;
}

/// A type that an operation may return.
pub trait Reply {
    /// TypeScript's word for it.
    const TYPING: &'static str;
    fn write(self, env: sys::napi_env) -> sys::napi_value;
}

macro_rules! scalar {
    ($type:ty, $typing:literal, $default:expr, $get:ident, $create:ident) => {
        impl Argument for $type {
            const TYPING: &'static str = $typing;
            #[inline]
            fn read(env: sys::napi_env, value: sys::napi_value) -> Option<Self> {
                let mut out = $default;
                // SAFETY: `value` comes from this callback's own arguments; `out` outlives the call.
                let status = unsafe { sys::$get(env, value, &mut out) };
                (status == sys::Status::napi_ok).then_some(out)
            }
        }
        impl Reply for $type {
            const TYPING: &'static str = $typing;
            #[inline]
            fn write(self, env: sys::napi_env) -> sys::napi_value {
                let mut out = ptr::null_mut();
                // SAFETY: `env` is the environment of the running callback.
                unsafe { sys::$create(env, self, &mut out) };
                out
            }
        }
    };
}
scalar!(u32, "number", 0, napi_get_value_uint32, napi_create_uint32);
scalar!(f64, "number", 0.0, napi_get_value_double, napi_create_double);
scalar!(bool, "boolean", false, napi_get_value_bool, napi_get_boolean);

/// An argument that may be left out.
impl<A: Argument> Argument for Option<A> {
    const TYPING: &'static str = A::TYPING;
    const OPTIONAL: bool = true;
    #[inline]
    fn read(env: sys::napi_env, value: sys::napi_value) -> Option<Self> {
        let mut kind = sys::ValueType::napi_undefined;
        // SAFETY: `value` comes from this callback's own arguments; `kind` outlives the call.
        unsafe { sys::napi_typeof(env, value, &mut kind) };
        if kind == sys::ValueType::napi_undefined { Some(None) } else { A::read(env, value).map(Some) }
    }
}

/// Node makes undefined of a null value.
impl Reply for () {
    const TYPING: &'static str = "void";
    #[inline]
    fn write(self, _: sys::napi_env) -> sys::napi_value {
        ptr::null_mut()
    }
}

/// First element and length of a typed array of this kind.
#[inline]
fn typed_array(env: sys::napi_env, value: sys::napi_value, kind: sys::napi_typedarray_type) -> Option<(*mut c_void, usize)> {
    let (mut found, mut length, mut data) = (-1, 0, ptr::null_mut());
    // SAFETY: `value` comes from this callback's own arguments; the places outlive the call.
    let status = unsafe { sys::napi_get_typedarray_info(env, value, &mut found, &mut length, &mut data, ptr::null_mut(), ptr::null_mut()) };
    if status != sys::Status::napi_ok || found != kind {
        return None;
    }
    Some(if length == 0 { (ptr::without_provenance_mut(align_of::<u64>()), 0) } else { (data, length) })
}

macro_rules! array {
    ($type:ty, $typing:literal, $kind:ident) => {
        /// Valid during the callback: no JavaScript runs that could move or detach it.
        impl Argument for &[$type] {
            const TYPING: &'static str = $typing;
            #[inline]
            fn read(env: sys::napi_env, value: sys::napi_value) -> Option<Self> {
                let (data, length) = typed_array(env, value, sys::TypedarrayType::$kind)?;
                // SAFETY: the array has `length` elements of this kind and lives as long as the callback.
                Some(unsafe { slice::from_raw_parts(data.cast(), length) })
            }
        }
        /// As above; an operation is never given one array twice.
        impl Argument for &mut [$type] {
            const TYPING: &'static str = $typing;
            #[inline]
            fn read(env: sys::napi_env, value: sys::napi_value) -> Option<Self> {
                let (data, length) = typed_array(env, value, sys::TypedarrayType::$kind)?;
                // SAFETY: as above.
                Some(unsafe { slice::from_raw_parts_mut(data.cast(), length) })
            }
        }
    };
}
array!(u32, "Uint32Array", uint32_array);
array!(u8, "Uint8Array", uint8_array);
array!(f64, "Float64Array", float64_array);

/// The first `N` arguments; missing ones are `undefined`.
#[inline]
pub fn arguments<const N: usize>(env: sys::napi_env, info: sys::napi_callback_info) -> [sys::napi_value; N] {
    let mut argc = N;
    let mut argv = [ptr::null_mut(); N];
    // SAFETY: `argv` holds `argc` places; Node fills those that are missing with undefined.
    unsafe { sys::napi_get_cb_info(env, info, &mut argc, argv.as_mut_ptr(), ptr::null_mut(), ptr::null_mut()) };
    argv
}

/// One argument, or the sentence that says what it must be.
#[inline]
pub fn argument<A: Argument>(env: sys::napi_env, value: sys::napi_value, name: &str) -> std::result::Result<A, String> {
    A::read(env, value).ok_or_else(|| format!("the argument {name} has the wrong type. Pass a {}.", A::TYPING))
}

/// Runs `body`; an error or a panic is thrown in JavaScript.
#[inline]
pub fn run<R: Reply, E: Into<Failure>>(
    env: sys::napi_env,
    name: &str,
    body: impl FnOnce() -> std::result::Result<R, E>,
) -> sys::napi_value {
    match crate::faults::within(|| catch_unwind(AssertUnwindSafe(body))) {
        Ok(Ok(value)) => value.write(env),
        Ok(Err(error)) => throw(env, located(name, error.into())),
        Err(panic) => {
            let text = panic.downcast_ref::<&str>().map(|s| s.to_string());
            let text = text.or_else(|| panic.downcast_ref::<String>().cloned()).unwrap_or_default();
            if storage::is_out_of_memory(&text) {
                return throw(env, located(name, Failure::from(text)));
            }
            throw(env, Failure { code: c"ENGINE_PANIC", message: format!("{name}: the engine panicked: {text}. Please report it.") })
        }
    }
}

/// Puts the operation's name before a refusal that does not begin with it.
#[cold]
fn located(name: &str, failure: Failure) -> Failure {
    let own = failure.code == c"ENGINE_REFUSED" || failure.code == c"OUT_OF_MEMORY";
    if !own || failure.message.starts_with(name) {
        return failure;
    }
    Failure { message: format!("{name}: {}", failure.message), ..failure }
}

#[cold]
fn throw(env: sys::napi_env, failure: Failure) -> sys::napi_value {
    let message = CString::new(failure.message.replace('\0', " ")).unwrap_or_default();
    // SAFETY: both strings end with a zero and outlive the call.
    unsafe { sys::napi_throw_error(env, failure.code.as_ptr(), message.as_ptr()) };
    ptr::null_mut()
}

/// Puts an operation on the module.
pub fn register(exports: &mut Object, env: &Env, op: &HotOp) -> Result<()> {
    let mut function = ptr::null_mut();
    let length = op.name.len() as isize;
    // SAFETY: the name is valid UTF-8 of `length` bytes; the callback lives as long as the library.
    let value = unsafe {
        check_status!(sys::napi_create_function(
            env.raw(),
            op.name.as_ptr().cast(),
            length,
            Some(op.callback),
            ptr::null_mut(),
            &mut function
        ))?;
        Unknown::from_napi_value(env.raw(), function)?
    };
    exports.set_named_property(op.name, value)
}

/// The declaration of an operation with `arguments` as (name, type, whether it may be left out).
pub fn declaration(docs: &[&str], name: &str, arguments: &[(&str, &str, bool)], result: &str) -> String {
    let arguments: Vec<_> = arguments
        .iter()
        .map(|(name, typing, optional)| format!("{}{}: {typing}", camel_case(name), if *optional { "?" } else { "" }))
        .collect();
    format!("/**{} */\nexport declare function {name}({}): {result}", docs.concat(), arguments.join(", "))
}

fn camel_case(name: &str) -> String {
    let mut words = name.split('_');
    let first = words.next().unwrap_or_default().to_owned();
    words.fold(first, |joined, word| joined + &word[..word.len().min(1)].to_uppercase() + word.get(1..).unwrap_or_default())
}

/// Declares raw operations `name(arg: type, ...) -> type { Result<type, String> }` and the table `HOT_OPS`.
/// `-> type throws E` lets the body fail with any `E: Into<Failure>`.
macro_rules! hot_ops {
    ($($(#[doc = $doc:literal])+ $name:ident($($arg:ident: $type:ty),* $(,)?) -> $result:tt $(throws $error:ident)? $body:block)*) => {
        $(
            #[allow(non_snake_case)]
            unsafe extern "C" fn $name(env: napi::sys::napi_env, info: napi::sys::napi_callback_info) -> napi::sys::napi_value {
                type Thrown = $crate::hot_op::error_type!($($error)?);
                $crate::hot_op::run(env, stringify!($name), move || -> std::result::Result<$result, Thrown> {
                    let [$($arg),*] = $crate::hot_op::arguments(env, info);
                    $(let $arg = $crate::hot_op::argument::<$type>(env, $arg, stringify!($arg))?;)*
                    $body
                })
            }
        )*
        pub const HOT_OPS: &[$crate::hot_op::HotOp] = &[$($crate::hot_op::HotOp {
            name: stringify!($name),
            typing: || $crate::hot_op::declaration(
                &[$($doc),+],
                stringify!($name),
                &[$((
                    stringify!($arg),
                    <$type as $crate::hot_op::Argument>::TYPING,
                    <$type as $crate::hot_op::Argument>::OPTIONAL,
                )),*],
                <$result as $crate::hot_op::Reply>::TYPING,
            ),
            callback: $name,
        }),*];
    };
}
pub(crate) use hot_ops;

/// The error type of a body: a sentence unless something else is named.
macro_rules! error_type {
    () => {
        String
    };
    ($error:ident) => {
        $error
    };
}
pub(crate) use error_type;

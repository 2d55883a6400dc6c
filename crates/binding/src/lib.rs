//! What JavaScript sees: `#[napi]` exports and the raw hot operations, nothing else.

mod accelerator;
mod comm;
mod dispatch;
mod doctor;
mod engine;
mod faults;
mod hot_op;
mod ops;
mod statistics;
mod tensors;

use napi::Env;
use napi::bindgen_prelude::*;
use napi_derive::napi;

/// The typings of the raw operations, one declaration each; the build appends them to the generated declarations.
#[napi(catch_unwind, skip_typescript)]
pub fn hot_op_typings() -> Vec<String> {
    ops::all().map(|op| (op.typing)()).collect()
}

#[napi(module_exports)]
pub fn register(mut exports: Object, env: Env) -> Result<()> {
    ops::all().try_for_each(|op| hot_op::register(&mut exports, &env, op))
}

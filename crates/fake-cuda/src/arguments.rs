//! The arguments of a launch in words, read by the parameter list that stands in the kernel's own text. Memory is told by the number of its
//! allocation and the byte within it, which are the same in every run.

use crate::state::State;
use std::ffi::c_void;

/// How a parameter is told.
#[derive(Clone, Copy)]
enum Kind {
    U32,
    U64,
    F32,
    F64,
    I32,
    /// A number of one byte.
    U8,
    Walk,
    Shape,
    Memory,
}

impl Kind {
    fn bytes(self) -> usize {
        match self {
            Kind::U8 => 1,
            Kind::U32 | Kind::F32 | Kind::I32 => 4,
            Kind::U64 | Kind::F64 | Kind::Memory => 8,
            Kind::Walk => 8 * (1 + MAX_RANK + OPERANDS * MAX_RANK + OPERANDS),
            Kind::Shape => 4 * (SHAPE_WORDS + 1) + 8 * SHAPE_STRIDES,
        }
    }
}

/// Parameters of one kernel.
pub struct Parameters(Vec<(String, Kind)>);

/// Dims that a walk has room for, and operands.
const MAX_RANK: usize = 12;
const OPERANDS: usize = 3;
/// Numbers of an attention before its strides: the last but one is its scale, the last the factor of its dropout.
const SHAPE_WORDS: usize = 11;
const SHAPE_STRIDES: usize = 9;

fn wide(options: &str) -> Kind {
    let has = |dtype: u32| options.split_whitespace().any(|option| option == format!("-DDTYPE={dtype}"));
    match () {
        () if has(3) => Kind::F64,
        () if has(4) => Kind::I32,
        () if has(5) => Kind::U64,
        () if has(6) => Kind::U8,
        () => Kind::F32,
    }
}

impl Parameters {
    /// Those of the kernel of this name; None where the text has no such list.
    pub fn of(text: &str, name: &str) -> Option<Parameters> {
        let options = text.lines().next()?;
        let after = |head: String| text.find(&head).map(|at| at + head.len());
        let start = after(format!("\nKERNEL {name}(")).or_else(|| after(format!("\n{name}(")))?;
        let list = text.get(start..)?.split(')').next()?;
        let parameter = |words: &str| {
            let (kind, name) = words.trim().rsplit_once(' ')?;
            let kind = match kind {
                "u32" => Kind::U32,
                "u64" => Kind::U64,
                "float" => Kind::F32,
                "double" => Kind::F64,
                "Wide" => wide(options),
                "Walk" => Kind::Walk,
                "Shape" => Kind::Shape,
                _ if kind.ends_with('*') => Kind::Memory,
                _ => return None,
            };
            Some((name.to_owned(), kind))
        };
        list.split(',').map(parameter).collect::<Option<_>>().map(Parameters)
    }

    /// The bytes of each argument, in whole words.
    ///
    /// # Safety
    /// The places are those of the kernel's arguments.
    pub unsafe fn copies(&self, places: *mut *mut c_void) -> Vec<Vec<u64>> {
        let copy = |(number, (_, kind)): (usize, &(String, Kind))| {
            let bytes = kind.bytes();
            let mut words = vec![0u64; bytes.div_ceil(size_of::<u64>())];
            // SAFETY: the caller's promise: an argument of this kind lies there.
            unsafe { words.as_mut_ptr().cast::<u8>().copy_from_nonoverlapping(places.add(number).read().cast(), bytes) };
            words
        };
        self.0.iter().enumerate().map(copy).collect()
    }

    /// `name=value` for each.
    ///
    /// # Safety
    /// The places are those of the kernel's arguments.
    pub unsafe fn tell(&self, state: &State, places: *mut *mut c_void) -> String {
        let told = self.0.iter().enumerate().map(|(number, (name, kind))| {
            // SAFETY: there are as many places as parameters, each of its kind.
            let value = unsafe { value_of(*kind, state, places.add(number).read().cast_const()) };
            format!("{name}={value}")
        });
        told.collect::<Vec<_>>().join(" ")
    }
}

/// # Safety
/// An argument of this kind lies there.
unsafe fn value_of(kind: Kind, state: &State, at: *const c_void) -> String {
    // SAFETY: the caller's promise.
    unsafe {
        match kind {
            Kind::U32 => at.cast::<u32>().read_unaligned().to_string(),
            Kind::I32 => at.cast::<i32>().read_unaligned().to_string(),
            Kind::U64 => at.cast::<u64>().read_unaligned().to_string(),
            Kind::F32 => at.cast::<f32>().read_unaligned().to_string(),
            Kind::F64 => at.cast::<f64>().read_unaligned().to_string(),
            Kind::U8 => at.cast::<u8>().read().to_string(),
            Kind::Memory => memory(state, at.cast::<u64>().read_unaligned()),
            Kind::Walk => walk(at.cast::<[u64; 1 + MAX_RANK + OPERANDS * MAX_RANK + OPERANDS]>().read_unaligned()),
            Kind::Shape => shape(
                at.cast::<[u32; SHAPE_WORDS]>().read_unaligned(),
                at.byte_add(4 * (SHAPE_WORDS + 1)).cast::<[u64; SHAPE_STRIDES]>().read_unaligned(),
            ),
        }
    }
}

fn memory(state: &State, address: u64) -> String {
    let mut pieces = state.pieces.iter();
    match pieces.find(|(first, piece)| (**first..**first + piece.bytes as u64).contains(&address)) {
        _ if address == 0 => "null".to_owned(),
        Some((first, piece)) => format!("#{}+{}", piece.number, address - first),
        None => "nowhere".to_owned(),
    }
}

fn walk(words: [u64; 1 + MAX_RANK + OPERANDS * MAX_RANK + OPERANDS]) -> String {
    let rank = (words[0] as usize).min(MAX_RANK);
    let row = |first: usize| words[first..first + rank].iter().map(u64::to_string).collect::<Vec<_>>().join("x");
    let strides: Vec<String> = (0..OPERANDS).map(|operand| row(1 + MAX_RANK * (1 + operand))).collect();
    let offsets: Vec<String> = words[1 + MAX_RANK * (1 + OPERANDS)..].iter().map(u64::to_string).collect();
    format!("[{}]by[{}]from[{}]", row(1), strides.join(","), offsets.join(","))
}

fn shape(words: [u32; SHAPE_WORDS], strides: [u64; SHAPE_STRIDES]) -> String {
    let (counts, reals) = words.split_at(SHAPE_WORDS - 2);
    let counts: Vec<String> = counts.iter().map(u32::to_string).collect();
    let reals: Vec<String> = reals.iter().map(|&bits| f32::from_bits(bits).to_string()).collect();
    let strides: Vec<String> = strides.iter().map(u64::to_string).collect();
    format!("[{}][{}][{}]", counts.join(","), reals.join(","), strides.join(","))
}

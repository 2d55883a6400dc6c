//! Element types of tensors.

/// What an element is; the numbers are those that JavaScript passes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u32)]
pub enum DType {
    F32 = 0,
    BF16 = 1,
    F16 = 2,
    F64 = 3,
    I32 = 4,
    I64 = 5,
    U8 = 6,
}

impl DType {
    /// Every type, in the order of the codes.
    pub const ALL: [DType; 7] = [DType::F32, DType::BF16, DType::F16, DType::F64, DType::I32, DType::I64, DType::U8];

    /// The type with this code.
    pub fn from_code(code: u32) -> Result<DType, String> {
        let known = DType::ALL.get(code as usize).copied();
        known.ok_or_else(|| format!("dtype code {code} is unknown. Use one of 0 f32, 1 bf16, 2 f16, 3 f64, 4 i32, 5 i64, 6 u8."))
    }

    /// Bytes of an element.
    pub const fn size(self) -> usize {
        match self {
            DType::F64 | DType::I64 => 8,
            DType::F32 | DType::I32 => 4,
            DType::BF16 | DType::F16 => 2,
            DType::U8 => 1,
        }
    }

    /// The name that users write.
    pub const fn name(self) -> &'static str {
        match self {
            DType::F32 => "f32",
            DType::BF16 => "bf16",
            DType::F16 => "f16",
            DType::F64 => "f64",
            DType::I32 => "i32",
            DType::I64 => "i64",
            DType::U8 => "u8",
        }
    }

    /// Whether an element may be NaN.
    pub const fn is_float(self) -> bool {
        matches!(self, DType::F32 | DType::BF16 | DType::F16 | DType::F64)
    }
}

/// A Rust type that elements are read as.
///
/// # Safety
/// Every bit pattern is a value, and `DTYPES` have the size of the type.
pub unsafe trait Element: Copy + Send + Sync + 'static {
    /// The types whose elements are these.
    const DTYPES: &'static [DType];
}

macro_rules! element {
    ($($type:ty: $($dtype:ident)+),+) => {
        // SAFETY: plain numbers of the size of their dtypes.
        $(unsafe impl Element for $type {
            const DTYPES: &'static [DType] = &[$(DType::$dtype),+];
        })+
    };
}
element!(f32: F32, u16: BF16 F16, f64: F64, i32: I32, i64: I64, u8: U8);

//! What follows a product in the same kernel.

use crate::memory::Part;
use cudarc::cublaslt::sys::cublasLtEpilogue_t;

/// What is done to each element before it is stored; rows and columns are those of the result. GELU is its tanh form.
#[derive(Clone, Copy, Default)]
pub enum Epilogue<'a> {
    #[default]
    None,
    /// Adds one value to each column.
    Bias(&'a Part),
    /// Adds a bias where there is one, keeps that sum in `saved`, and stores its GELU.
    Gelu { bias: Option<&'a Part>, saved: &'a Part },
    /// Multiplies by the derivative of GELU at `saved`; `bias_gradient` becomes the sums of the columns of what is stored.
    GeluGradient { saved: &'a Part, bias_gradient: Option<&'a Part> },
    /// The sums of the left factor over the inner dimension: what the product of a weight gradient has to say of the bias.
    LeftSums(&'a Part),
}

/// The same without its memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Shape {
    None,
    Bias,
    Gelu,
    GeluBias,
    GeluGradient,
    GeluBiasGradient,
    LeftSums,
}

impl Shape {
    /// Columns of a product in the library's order are rows here: what it calls B is the left factor.
    pub fn raw(self) -> cublasLtEpilogue_t {
        match self {
            Shape::None => cublasLtEpilogue_t::CUBLASLT_EPILOGUE_DEFAULT,
            Shape::Bias => cublasLtEpilogue_t::CUBLASLT_EPILOGUE_BIAS,
            Shape::Gelu => cublasLtEpilogue_t::CUBLASLT_EPILOGUE_GELU_AUX,
            Shape::GeluBias => cublasLtEpilogue_t::CUBLASLT_EPILOGUE_GELU_AUX_BIAS,
            Shape::GeluGradient => cublasLtEpilogue_t::CUBLASLT_EPILOGUE_DGELU,
            Shape::GeluBiasGradient => cublasLtEpilogue_t::CUBLASLT_EPILOGUE_DGELU_BGRAD,
            Shape::LeftSums => cublasLtEpilogue_t::CUBLASLT_EPILOGUE_BGRADB,
        }
    }

    /// As errors call it.
    pub fn name(self) -> &'static str {
        match self {
            Shape::None => "nothing",
            Shape::Bias => "a bias",
            Shape::Gelu => "GELU",
            Shape::GeluBias => "a bias and GELU",
            Shape::GeluGradient => "GELU's gradient",
            Shape::GeluBiasGradient => "GELU's and a bias's gradient",
            Shape::LeftSums => "a bias's gradient",
        }
    }
}

impl<'a> Epilogue<'a> {
    pub(super) fn shape(&self) -> Shape {
        match self {
            Epilogue::None => Shape::None,
            Epilogue::Bias(_) => Shape::Bias,
            Epilogue::Gelu { bias: None, .. } => Shape::Gelu,
            Epilogue::Gelu { bias: Some(_), .. } => Shape::GeluBias,
            Epilogue::GeluGradient { bias_gradient: None, .. } => Shape::GeluGradient,
            Epilogue::GeluGradient { bias_gradient: Some(_), .. } => Shape::GeluBiasGradient,
            Epilogue::LeftSums(_) => Shape::LeftSums,
        }
    }

    /// The memory with one value for each column, or, for `LeftSums`, for each row.
    pub(super) fn vector(&self) -> Option<&'a Part> {
        match *self {
            Epilogue::Bias(part) | Epilogue::LeftSums(part) => Some(part),
            Epilogue::Gelu { bias: part, .. } | Epilogue::GeluGradient { bias_gradient: part, .. } => part,
            Epilogue::None => None,
        }
    }

    /// The memory with one value for each element.
    pub(super) fn saved(&self) -> Option<&'a Part> {
        match *self {
            Epilogue::Gelu { saved, .. } | Epilogue::GeluGradient { saved, .. } => Some(saved),
            _ => None,
        }
    }
}

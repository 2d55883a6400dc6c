//! The products of the linear layers of a small model, of gpt2 and of a square one.

use megatron_kernels::gemm::{Gemm, Matrix, MatrixMut, Precision, Values, ValuesMut};
use megatron_kernels::half::f32_to_bf16;
use storage::{DType as Element, Span};

/// rows, in, out of the layers.
const SHAPES: [[usize; 3]; 11] = [
    [2048, 256, 256],
    [2048, 256, 768],
    [2048, 256, 1024],
    [2048, 1024, 256],
    [512, 1024, 1024],
    [2048, 1024, 1024],
    [1024, 768, 2304],
    [1024, 768, 768],
    [1024, 768, 3072],
    [1024, 3072, 768],
    [1024, 768, 50304],
];

#[derive(Clone, Copy, PartialEq, Eq)]
pub enum DType {
    F32,
    /// f32 in memory, multiplied as bf16.
    Bf16,
    /// bf16 in memory; weight gradients in f32.
    Bf16Storage,
}

impl DType {
    const ALL: [DType; 3] = [DType::F32, DType::Bf16, DType::Bf16Storage];

    pub fn name(self) -> &'static str {
        match self {
            DType::F32 => "f32",
            DType::Bf16 => "bf16",
            DType::Bf16Storage => "bf16-storage",
        }
    }

    pub fn parse(word: &str) -> Option<DType> {
        DType::ALL.into_iter().find(|dtype| dtype.name() == word)
    }
}

/// Which product of the layer y = x W^T.
#[derive(Clone, Copy)]
pub enum Layout {
    /// NT: y = x W^T.
    Forward,
    /// NN: dx = dy W.
    InputGrad,
    /// TN: dW += dy^T x.
    WeightGrad,
}

impl Layout {
    pub fn name(self) -> &'static str {
        match self {
            Layout::Forward => "fwd",
            Layout::InputGrad => "dgrad",
            Layout::WeightGrad => "wgrad",
        }
    }
}

#[derive(Clone, Copy)]
pub struct Case {
    pub rows: usize,
    pub input: usize,
    pub output: usize,
    pub layout: Layout,
    pub dtype: DType,
}

pub fn all(dtype: DType) -> Vec<Case> {
    let layouts = [Layout::Forward, Layout::InputGrad, Layout::WeightGrad];
    let of = |[rows, input, output]: [usize; 3]| layouts.map(|layout| Case { rows, input, output, layout, dtype });
    SHAPES.into_iter().flat_map(of).collect()
}

impl Case {
    pub fn shape(&self) -> String {
        format!("{}: {} -> {}", self.rows, self.input, self.output)
    }

    pub fn name(&self) -> String {
        format!("{} {}", self.shape(), self.layout.name())
    }

    pub fn flops(&self) -> f64 {
        2.0 * self.rows as f64 * self.input as f64 * self.output as f64
    }

    /// Runs the product once.
    pub fn run(&self, buffers: &mut Buffers) -> Result<(), String> {
        if self.dtype == DType::Bf16Storage {
            self.product::<u16>(&buffers.narrow, &buffers.wide.dw)
        } else {
            self.product::<f32>(&buffers.wide, &buffers.wide.dw)
        }
    }

    /// The product on tensors of `T`, with a weight gradient in f32.
    fn product<T: storage::Element>(&self, tensors: &Tensors, dw: &Span) -> Result<(), String>
    where
        for<'a> Values<'a>: From<&'a [T]>,
        for<'a> ValuesMut<'a>: From<&'a mut [T]>,
    {
        let Case { rows, input, output, layout, dtype } = *self;
        let precision = if dtype == DType::F32 { Precision::F32 } else { Precision::Bf16 };
        let (x_len, y_len, w_len) = (rows * input, rows * output, output * input);
        // SAFETY: this thread alone uses the tensors, each of them once in a product.
        let (y, dx, dw) = unsafe { (tensors.y.slice_mut::<T>()?, tensors.dx.slice_mut::<T>()?, dw.slice_mut::<f32>()?) };
        let x = Matrix::new(&tensors.x.slice::<T>()?[..x_len], rows, input);
        let w = Matrix::new(&tensors.w.slice::<T>()?[..w_len], output, input);
        let y = &mut y[..y_len];
        match layout {
            Layout::Forward => Gemm { precision, ..Gemm::new(x, w.t(), MatrixMut::new(y, rows, output)) }.run(),
            Layout::InputGrad => {
                let dx = MatrixMut::new(&mut dx[..x_len], rows, input);
                Gemm { precision, ..Gemm::new(Matrix::new(&*y, rows, output), w, dx) }.run()
            }
            Layout::WeightGrad => {
                let dw = MatrixMut::new(&mut dw[..w_len], output, input);
                Gemm { precision, accumulate: true, ..Gemm::new(Matrix::new(&*y, rows, output).t(), x, dw) }.run()
            }
        }
    }
}

/// The tensors of a layer, as large as the largest of the cases needs, in memory as the engine's tensors have it.
struct Tensors {
    x: Span,
    y: Span,
    w: Span,
    dx: Span,
    dw: Span,
}

pub struct Buffers {
    wide: Tensors,
    narrow: Tensors,
}

impl Buffers {
    pub fn new(cases: &[Case]) -> Result<Buffers, String> {
        let most = |storage: &[DType], len: fn(&Case) -> usize| {
            cases.iter().filter(|case| storage.contains(&case.dtype)).map(len).max().unwrap_or(0)
        };
        let lens = |storage: &[DType]| {
            [
                most(storage, |case| case.rows * case.input),
                most(storage, |case| case.rows * case.output),
                most(storage, |case| case.output * case.input),
            ]
        };
        // Small numbers of both signs, whose sums stay far from overflow.
        let floats = |len: usize| (0..len).map(|i| (i * 37 % 255) as f32 / 1024.0 - 0.124).collect::<Vec<f32>>();
        let wide = |len: usize| Span::from_slice(Element::F32, &floats(len));
        let narrow = |len: usize| Span::from_slice(Element::BF16, &floats(len).into_iter().map(f32_to_bf16).collect::<Vec<u16>>());
        let ([x, y, w], [x16, y16, w16]) = (lens(&[DType::F32, DType::Bf16]), lens(&[DType::Bf16Storage]));
        Ok(Buffers {
            wide: Tensors { x: wide(x)?, y: wide(y)?, w: wide(w)?, dx: wide(x)?, dw: wide(w.max(w16))? },
            narrow: Tensors { x: narrow(x16)?, y: narrow(y16)?, w: narrow(w16)?, dx: narrow(x16)?, dw: narrow(0)? },
        })
    }
}

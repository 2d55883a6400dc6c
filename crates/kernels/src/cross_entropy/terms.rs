/// What makes a row's loss of its statistics.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Terms {
    /// What the target keeps of its probability under label smoothing.
    pub(super) hot: f32,
    /// What each token of the whole vocabulary gets of it, the target included.
    pub(super) uniform: f32,
    /// Coefficient of the square of ln(sum exp(logits)).
    pub(super) z: f32,
    /// Target of rows that have loss 0 and no gradient.
    pub(super) ignored: Option<i32>,
}

impl Terms {
    /// Nothing but the cross-entropy.
    pub const PLAIN: Terms = Terms { hot: 1.0, uniform: 0.0, z: 0.0, ignored: None };

    /// `smoothing` is the share of a target's probability that all tokens of the vocabulary share.
    pub fn new(smoothing: f64, vocabulary: f64, z: f64, ignored: Option<i32>) -> Result<Terms, String> {
        if !((0.0..=1.0).contains(&smoothing) && vocabulary >= 1.0 && z >= 0.0) {
            let sentence = format!("smoothing {smoothing} over {vocabulary} tokens and z {z} make no loss.");
            return Err(format!("{sentence} Pass a share from 0 to 1, at least one token and a coefficient of at least 0."));
        }
        Ok(Terms { hot: (1.0 - smoothing) as f32, uniform: (smoothing / vocabulary) as f32, z: z as f32, ignored })
    }

    /// Statistics of a row: the sum of the logits is one of them only where it counts.
    pub fn statistics(&self) -> usize {
        if self.uniform == 0.0 { 2 } else { 3 }
    }

    /// Target of rows that count for nothing.
    pub fn ignored(&self) -> Option<i32> {
        self.ignored
    }

    /// What kernels on a GPU are told.
    pub fn numbers(&self) -> [f32; 3] {
        [self.hot, self.uniform, self.z]
    }
}

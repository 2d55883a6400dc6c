// y = residual + F (x + bias) on activations: x and residual [seq, batch, cols], bias [cols]; bias or residual may be null. F is 0 where
// the word drawn by (channel, token, 0, sample) in the whole model lies below `threshold`, else `factor`. Given the gradient of y as
// x, and nothing to add, the same is the gradient of x.
KERNEL dropout(u64 batch, u64 cols, u32 first_token, u32 threshold, float factor, const u32* draw, const Stored* x, const Weight* bias,
               const Stored* residual, Stored* y) {
  OwnInRow own = own_in_row(cols);
  u64 at = own.row * cols + own.col;
  u32 token = first_token + (u32)(own.row / batch), sample = draw[2] + (u32)(own.row % batch);
  float values[WIDTH], other[WIDTH];
  load(x + at, own.count, values);
  if (bias != 0) {
    load(bias + own.col, own.count, other);
    _Pragma("unroll") for (u32 i = 0; i < WIDTH; i++) values[i] = values[i] + other[i];
  }
  // A slot begins at a multiple of WIDTH, which is one of 4.
  _Pragma("unroll") for (u32 block = 0; block < WIDTH / 4; block++) {
    Words words = dropout_words(draw, (u32)(own.col / 4) + block, token, 0, sample);
    _Pragma("unroll") for (u32 lane = 0; lane < 4; lane++) values[4 * block + lane] *= words.word[lane] < threshold ? 0.0f : factor;
  }
  if (residual != 0) {
    load(residual + at, own.count, other);
    _Pragma("unroll") for (u32 i = 0; i < WIDTH; i++) values[i] = other[i] + values[i];
  }
  store(y + at, own.count, values);
}

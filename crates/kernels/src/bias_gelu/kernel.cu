// y = gelu(x + bias) in the tanh form. x, y, grad and dx are [rows, cols], bias [cols].

// 2 sqrt(2 / pi), and the same times 0.044715.
#define LINEAR 1.5957692f
#define CUBIC 0.071354814f

// sigmoid(2 u) of the tanh form.
DEVICE float gate_of(float v) { return 1.0f / (1.0f + exp_of(-v * madd(v * v, CUBIC, LINEAR))); }

KERNEL bias_gelu(u64 cols, const Stored* x, const Weight* bias, Stored* y) {
  OwnInRow own = own_in_row(cols);
  u64 at = own.row * cols + own.col;
  float values[WIDTH], other[WIDTH];
  load(x + at, own.count, values);
  load(bias + own.col, own.count, other);
  _Pragma("unroll") for (u32 i = 0; i < WIDTH; i++) {
    float v = values[i] + other[i];
    values[i] = v * gate_of(v);
  }
  store(y + at, own.count, values);
}

// dx, and its column sums over each chunk of rows in partials [chunks, cols]; partials may be null. With s the gate:
// dy/dv = s + v s (1 - s) d(2 u)/dv.
KERNEL bias_gelu_backward(u64 rows, u64 cols, u64 rows_per_chunk, const Stored* x, const Weight* bias, const Stored* grad, Stored* dx,
                          float* partials) {
  OwnColumns own = own_columns(rows, cols, rows_per_chunk);
  float added[WIDTH], sums[WIDTH] = {};
  load(bias + own.col, own.count, added);
  for (u64 row = own.first_row; row < own.end_row; row++) {
    u64 at = row * cols + own.col;
    float values[WIDTH], grads[WIDTH];
    load(x + at, own.count, values);
    load(grad + at, own.count, grads);
    _Pragma("unroll") for (u32 i = 0; i < WIDTH; i++) {
      float v = values[i] + added[i], s = gate_of(v), slope = madd(v * v, 3.0f * CUBIC, LINEAR);
      grads[i] = grads[i] * madd(v * s * (1.0f - s), slope, s);
      sums[i] += grads[i];
    }
    store(dx + at, own.count, grads);
  }
  if (partials != 0) store(partials + own.chunk * cols + own.col, own.count, sums);
}

// y = f(g + bias_g) (u + bias_u): x is [rows, 2 cols] with rows [g | u], bias [2 cols] or null, y [rows, cols]. Gate 0 is SiLU (SwiGLU),
// gate 1 GELU in its tanh form (GeGLU).

DEVICE void load_bias(const Weight* bias, u64 col, u32 count, float* values) {
  _Pragma("unroll") for (u32 i = 0; i < WIDTH; i++) values[i] = 0.0f;
  if (bias != 0) load(bias + col, count, values);
}

KERNEL bias_gated(u64 cols, u32 gate, const Stored* x, const Weight* bias, Stored* y) {
  OwnInRow own = own_in_row(cols);
  const Stored* at = x + 2 * own.row * cols + own.col;
  float g[WIDTH], u[WIDTH], bias_g[WIDTH], bias_u[WIDTH];
  load(at, own.count, g);
  load(at + cols, own.count, u);
  load_bias(bias, own.col, own.count, bias_g);
  load_bias(bias, cols + own.col, own.count, bias_u);
  _Pragma("unroll") for (u32 i = 0; i < WIDTH; i++) {
    float v = g[i] + bias_g[i];
    g[i] = (gate == 0 ? silu_of(v) : gelu_of(v)) * (u[i] + bias_u[i]);
  }
  store(y + own.row * cols + own.col, own.count, g);
}

// dx [rows, 2 cols], and its column sums over each chunk of rows in partials [chunks, 2 cols]; partials may be null.
KERNEL bias_gated_backward(u64 rows, u64 cols, u64 rows_per_chunk, u32 gate, const Stored* x, const Weight* bias, const Stored* grad,
                           Stored* dx, float* partials) {
  OwnColumns own = own_columns(rows, cols, rows_per_chunk);
  float bias_g[WIDTH], bias_u[WIDTH], sums_g[WIDTH] = {}, sums_u[WIDTH] = {};
  load_bias(bias, own.col, own.count, bias_g);
  load_bias(bias, cols + own.col, own.count, bias_u);
  for (u64 row = own.first_row; row < own.end_row; row++) {
    u64 at = 2 * row * cols + own.col;
    float g[WIDTH], u[WIDTH], grads[WIDTH];
    load(x + at, own.count, g);
    load(x + at + cols, own.count, u);
    load(grad + row * cols + own.col, own.count, grads);
    _Pragma("unroll") for (u32 i = 0; i < WIDTH; i++) {
      float v = g[i] + bias_g[i], along = grads[i] * (u[i] + bias_u[i]);
      u[i] = grads[i] * (gate == 0 ? silu_of(v) : gelu_of(v));
      g[i] = gate == 0 ? silu_backward(v, along) : gelu_backward(v, along);
      sums_g[i] += g[i];
      sums_u[i] += u[i];
    }
    store(dx + at, own.count, g);
    store(dx + at + cols, own.count, u);
  }
  if (partials == 0) return;
  float* sums = partials + 2 * own.chunk * cols + own.col;
  store(sums, own.count, sums_g);
  store(sums + cols, own.count, sums_u);
}

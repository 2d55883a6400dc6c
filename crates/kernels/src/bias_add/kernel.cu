// y = residual + (x + bias): x and residual [rows, cols], bias [cols]; bias or residual may be null.
KERNEL bias_add(u64 cols, const Stored* x, const Weight* bias, const Stored* residual, Stored* y) {
  OwnInRow own = own_in_row(cols);
  u64 at = own.row * cols + own.col;
  float values[WIDTH], other[WIDTH];
  load(x + at, own.count, values);
  if (bias != 0) {
    load(bias + own.col, own.count, other);
    _Pragma("unroll") for (u32 i = 0; i < WIDTH; i++) values[i] = values[i] + other[i];
  }
  if (residual != 0) {
    load(residual + at, own.count, other);
    _Pragma("unroll") for (u32 i = 0; i < WIDTH; i++) values[i] = other[i] + values[i];
  }
  store(y + at, own.count, values);
}

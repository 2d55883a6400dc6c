// dst[j] = sum over i of x[i, j]: each chunk of rows sums on its own, then `sum_partials` adds the chunks in their order.

KERNEL sum_rows(u64 rows, u64 cols, u64 rows_per_chunk, const Stored* x, float* partials) {
  OwnColumns own = own_columns(rows, cols, rows_per_chunk);
  float sums[WIDTH] = {}, values[WIDTH];
  _Pragma("unroll 4") for (u64 row = own.first_row; row < own.end_row; row++) {
    load(x + row * cols + own.col, own.count, values);
    _Pragma("unroll") for (u32 i = 0; i < WIDTH; i++) sums[i] += values[i];
  }
  store(partials + own.chunk * cols + own.col, own.count, sums);
}

// The chunks lie `stride` apart; what the sums held is overwritten, or added to.
KERNEL sum_partials(u64 cols, u64 chunks, u64 stride, u32 accumulate, const float* partials, float* sums) {
  u64 col = (u64)blockIdx.x * THREADS + threadIdx.x;
  if (col >= cols) return;
  float total = 0.0f;
  _Pragma("unroll 8") for (u64 chunk = 0; chunk < chunks; chunk++) total += partials[chunk * stride + col];
  sums[col] = accumulate ? sums[col] + total : total;
}

// y = reduction of x over some dims: 0 sum, 1 mean, 2 max, 3 min; NaN is carried by all of them. Partial results are f64. A result's
// elements are cut into chunks; `reduce_rows` has a block for each chunk, `reduce_columns` a thread; `reduce_finish` combines the
// chunks in their order. Operand 0 of `kept` is a result's first element, of `reduced` an element's distance from it.

DEVICE double start_of(u32 code) {
  return code < 2 ? 0.0 : double_of(code == 2 ? 0xfff0000000000000ull : 0x7ff0000000000000ull);
}

DEVICE double combine(u32 code, double total, double value) {
  if (code < 2) return total + value;
  bool better = code == 2 ? value > total : value < total;
  return better || value != value ? value : total;
}

KERNEL reduce_rows(u64 chunks, u64 chunk_length, u64 reduced_length, u32 code, Walk kept, Walk reduced, const Stored* x, double* partials) {
  __shared__ double of_warps[WARP];
  u64 result = blockIdx.x / chunks, chunk = blockIdx.x % chunks;
  u64 first = chunk * chunk_length, left = reduced_length - first;
  u64 count = left < chunk_length ? left : chunk_length;
  const Stored* origin = x + place_of(kept, 0, result);
  double total = start_of(code);
  for (u64 i = threadIdx.x; i < count; i += THREADS)
    total = combine(code, total, (double)widen(origin[place_of(reduced, 0, first + i)]));
  _Pragma("unroll") for (u32 half = 16; half > 0; half /= 2) total = combine(code, total, __shfl_xor_sync(ALL_LANES, total, half));
  if (threadIdx.x % WARP == 0) of_warps[threadIdx.x / WARP] = total;
  __syncthreads();
  if (threadIdx.x > 0) return;
  for (u32 warp = 1; warp < THREADS / WARP; warp++) total = combine(code, total, of_warps[warp]);
  partials[blockIdx.x] = total;
}

KERNEL reduce_columns(u64 results, u64 chunks, u64 chunk_length, u64 reduced_length, u32 code, Walk kept, Walk reduced, const Stored* x,
                      double* partials) {
  u64 number = (u64)blockIdx.x * THREADS + threadIdx.x;
  if (number >= results * chunks) return;
  u64 result = number % results, chunk = number / results;
  u64 first = chunk * chunk_length, end = first + chunk_length < reduced_length ? first + chunk_length : reduced_length;
  const Stored* origin = x + place_of(kept, 0, result);
  double total = start_of(code);
  for (u64 i = first; i < end; i++) total = combine(code, total, (double)widen(origin[place_of(reduced, 0, i)]));
  partials[result * chunks + chunk] = total;
}

KERNEL reduce_finish(u64 results, u64 chunks, u32 code, double divisor, const double* partials, Stored* y) {
  u64 result = (u64)blockIdx.x * THREADS + threadIdx.x;
  if (result >= results) return;
  double total = start_of(code);
  for (u64 chunk = 0; chunk < chunks; chunk++) total = combine(code, total, partials[result * chunks + chunk]);
  narrow(&y[result], (Wide)(total / divisor));
}

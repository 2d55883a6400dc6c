// How many elements are NaN or infinite, added to `count`. Integers add up alike in any order.
KERNEL non_finite(u64 length, const Stored* x, u64* count) {
  Own own = own_elements(length);
  float values[WIDTH];
  load(x + own.first, own.count, values);
  u32 found = 0;
  _Pragma("unroll") for (u32 i = 0; i < WIDTH; i++)
    found += i < own.count && (bits_of(values[i]) & 0x7f800000u) == 0x7f800000u ? 1 : 0;
  _Pragma("unroll") for (u32 half = 16; half > 0; half /= 2) found += __shfl_xor_sync(ALL_LANES, found, half);
  if (threadIdx.x % WARP == 0 && found > 0) atomicAdd(count, (u64)found);
}

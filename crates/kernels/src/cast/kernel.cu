// y[i] = x[i] in another element type. Floats round to nearest even, floats become integers by truncation (NaN is 0, what does not
// fit saturates), integers wrap; i64 and f64 reach the 16-bit floats by way of f32.

#if DTYPE <= 3
DEVICE i64 whole(Wide x, double least, double most, i64 lowest, i64 highest) {
  double value = (double)x;
  if (value != value) return 0;
  if (value <= least) return lowest;
  if (value >= most) return highest;
  return (i64)value;
}
#define AS_I32(x) ((i32)whole(x, -2147483648.0, 2147483647.0, -2147483648ll, 2147483647ll))
#define AS_I64(x) whole(x, -9223372036854775808.0, 9223372036854775808.0, (i64)(1ull << 63), (i64)(~0ull >> 1))
#define AS_U8(x) ((u8)whole(x, 0.0, 255.0, 0, 255))
#else
#define AS_I32(x) ((i32)(x))
#define AS_I64(x) ((i64)(x))
#define AS_U8(x) ((u8)(x))
#endif

// `target` is the number that DTYPE gives the type of y.
KERNEL cast(u64 length, u32 target, const Stored* x, void* y) {
  Own own = own_elements(length);
  Wide values[WIDTH];
  load(x + own.first, own.count, values);
  float floats[WIDTH];
  _Pragma("unroll") for (u32 i = 0; i < WIDTH; i++) floats[i] = (float)values[i];
  if (target == 0) return store((float*)y + own.first, own.count, floats);
  if (target == 1) return store((Bf16*)y + own.first, own.count, floats);
  if (target == 2) return store((F16*)y + own.first, own.count, floats);
  for (u64 at = own.first; at < own.first + own.count; at++) {
    Wide value = widen(x[at]);
    if (target == 3) ((double*)y)[at] = (double)value;
    if (target == 4) ((i32*)y)[at] = AS_I32(value);
    if (target == 5) ((i64*)y)[at] = AS_I64(value);
    if (target == 6) ((u8*)y)[at] = AS_U8(value);
  }
}

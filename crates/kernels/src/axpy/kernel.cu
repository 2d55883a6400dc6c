// dst[i] += alpha src[i], and dst[i] = alpha src[i]; alpha lies in memory, so that a captured step may change it. dst has the type that
// WEIGHT_DTYPE says.

KERNEL axpy(u64 length, const float* alpha, const Stored* src, Weight* dst) {
  Own own = own_elements(length);
  float x[WIDTH], sums[WIDTH];
  load(src + own.first, own.count, x);
  load(dst + own.first, own.count, sums);
  float factor = *alpha;
  _Pragma("unroll") for (u32 i = 0; i < WIDTH; i++) sums[i] = madd(x[i], factor, sums[i]);
  store(dst + own.first, own.count, sums);
}

// dst = alpha src in the type of dst; in place when both are one. A cast on the way from a scaled gradient to the one that is used.
KERNEL scale(u64 length, const float* alpha, const Stored* src, Weight* dst) {
  Own own = own_elements(length);
  float x[WIDTH];
  load(src + own.first, own.count, x);
  float factor = *alpha;
  _Pragma("unroll") for (u32 i = 0; i < WIDTH; i++) x[i] = x[i] * factor;
  store(dst + own.first, own.count, x);
}

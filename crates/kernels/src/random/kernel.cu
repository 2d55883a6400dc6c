// Random fill in f64 arithmetic without fused multiply-adds: the draws of the CPU, bit for bit (crates/kernels/src/random/cpu.rs).

DEVICE double polynomial(double x, const double* coefficients, u32 count) {
  double sum = coefficients[0];
  for (u32 i = 1; i < count; i++) sum = sum * x + coefficients[i];
  return sum;
}

// 1.5 * 2^52: an integer added to its bits is that integer added to its value.
#define SHIFTER 6755399441055744.0

// ln u for a normal u in (0, 1).
DEVICE double ln_of_fraction(double u) {
  const double series[7] = {1.4798198605116586e-1, 1.5313837699209373e-1, 1.818357216161805e-1, 2.2222198432149784e-1,
                            2.857142874366239e-1,  3.999999999940942e-1,  6.666666666666735e-1};
  i64 bits = (i64)bits_of_double(u);
  // The exponent such that the mantissa lies in [sqrt 1/2, sqrt 2).
  i64 exponent = (bits - 0x3fe6a09e667f3bcdll) >> 52;
  double mantissa = double_of((u64)bits - ((u64)exponent << 52));
  double s = (mantissa - 1.0) / (mantissa + 1.0);
  double e = double_of(bits_of_double(SHIFTER) + (u64)exponent) - SHIFTER, z = s * s;
  return e * 0.693147180559945309417 + (2.0 * s + s * z * polynomial(z, series, 7));
}

// sin and cos of 2 pi v for v in [0, 1]; of the two, the cosine when `wants_cos`.
DEVICE double sin_or_cos_of_turn(double v, bool wants_cos) {
  const double sin_series[6] = {1.5896230157654657e-10, -2.5050747762857807e-8, 2.7557313621385725e-6,
                                -1.984126982958954e-4,  8.333333333322118e-3,   -1.666666666666663e-1};
  const double cos_series[6] = {-1.1358536521387682e-11, 2.087570084197473e-9,   -2.755731417929674e-7,
                                2.4801587288851705e-5,   -1.3888888888873056e-3, 4.166666666666659e-2};
  double shifted = 4.0 * v + SHIFTER;
  u64 quarter = bits_of_double(shifted) & 3;
  double x = (4.0 * v - (shifted - SHIFTER)) * 1.57079632679489661923, z = x * x;
  double sin = x + x * z * polynomial(z, sin_series, 6);
  double cos = 1.0 - 0.5 * z + z * z * polynomial(z, cos_series, 6);
  bool swaps = (quarter & 1) != 0;
  double value = wants_cos == swaps ? sin : cos;
  u64 sign = (wants_cos ? (quarter + 1) & 2 : quarter & 2) << 62;
  return double_of(bits_of_double(value) ^ sign);
}

DEVICE double fraction(u32 word) { return ((double)word + 0.5) / 4294967296.0; }

// One lane of a block of four. kind 0: even over [a, b); 1: normal with mean a and deviation b.
DEVICE double drawn(Words words, u32 lane, u32 kind, double a, double b) {
  if (kind == 0) return a + (b - a) * fraction(word_of(words, lane));
  double radius = sqrt(-2.0 * ln_of_fraction(fraction(word_of(words, lane & 2))));
  return a + b * (radius * sin_or_cos_of_turn(fraction(word_of(words, lane | 1)), (lane & 1) == 0));
}

#if DTYPE == 3
DEVICE double rounded(double value, u32, double, double) { return value; }
#else
// The nearest f32, kept below the open end of an even distribution.
DEVICE float rounded(double value, u32 kind, double a, double b) {
  float near = (float)value;
  if (kind != 0 || (double)near < b || a >= b) return near;
  float end = (float)b;
  if (end == 0.0f) return float_of(0x80000001u);
  return float_of(bits_of(end) + (end > 0.0f ? 0xffffffffu : 1u));
}
#endif

// Operand 0 of the walk is the place in y, operand 1 the global index, which alone decides the value.
KERNEL fill_random(u64 length, Walk walk, u32 kind, double a, double b, u32 key0, u32 key1, Stored* y) {
  Own own = own_elements(length);
  u64 last = ~0ull;
  Words words = {{0, 0, 0, 0}};
  for (u32 i = 0; i < own.count; i++) {
    u64 index = place_of(walk, 1, own.first + i), block = index >> 2;
    if (block != last) {
      Words counter = {{(u32)block, (u32)(block >> 32), 0, 0}};
      words = philox(counter, key0, key1);
      last = block;
    }
    narrow(&y[place_of(walk, 0, own.first + i)], rounded(drawn(words, index & 3, kind, a, b), kind, a, b));
  }
}

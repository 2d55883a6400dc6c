// c[i] = a[i] op b[i] with broadcasting: 0 add, 1 sub, 2 mul, 3 div, 4 pow, 5 maximum, 6 minimum. Integers wrap and have neither div
// nor pow; maximum and minimum give NaN when either side is NaN.

#if DTYPE <= 3
DEVICE Wide quotient(Wide a, Wide b) { return a / b; }
#if DTYPE == 3
DEVICE Wide power(Wide a, Wide b) { return pow(a, b); }
#else
// Within eight units in the last place.
DEVICE Wide power(Wide a, Wide b) { return powf(a, b); }
#endif
#else
DEVICE Wide quotient(Wide, Wide) { return 0; }
DEVICE Wide power(Wide, Wide) { return 0; }
#endif

#if DTYPE <= 3
#define PLUS(a, b) ((a) + (b))
#define MINUS(a, b) ((a) - (b))
#define TIMES(a, b) ((a) * (b))
#else
// Unsigned, which wraps by definition.
#define PLUS(a, b) ((Wide)((u64)(a) + (u64)(b)))
#define MINUS(a, b) ((Wide)((u64)(a) - (u64)(b)))
#define TIMES(a, b) ((Wide)((u64)(a) * (u64)(b)))
#endif

DEVICE Wide apply(u32 code, Wide a, Wide b) {
  switch (code) {
    case 0: return PLUS(a, b);
    case 1: return MINUS(a, b);
    case 2: return TIMES(a, b);
    case 3: return quotient(a, b);
    case 4: return power(a, b);
    case 5: return a > b || a != a ? a : b;
    default: return a < b || a != a ? a : b;
  }
}

KERNEL binary(u64 length, u32 code, Walk walk, const Stored* a, const Stored* b, Stored* c) {
  Own own = own_elements(length);
  Wide left[WIDTH] = {}, right[WIDTH] = {};
  load_walk(walk, 0, a, own, left);
  load_walk(walk, 1, b, own, right);
  _Pragma("unroll") for (u32 i = 0; i < WIDTH; i++) left[i] = apply(code, left[i], right[i]);
  store(c + own.first, own.count, left);
}

// The same with one number, which is not rounded to the element type, on the right.
KERNEL binary_scalar(u64 length, u32 code, Wide scalar, const Stored* a, Stored* c) {
  Own own = own_elements(length);
  Wide values[WIDTH];
  load(a + own.first, own.count, values);
  _Pragma("unroll") for (u32 i = 0; i < WIDTH; i++) values[i] = apply(code, values[i], scalar);
  store(c + own.first, own.count, values);
}

// c[i] = a[i] op b[i] as 0 or 1, with broadcasting: 0 eq, 1 ne, 2 lt, 3 le, 4 gt, 5 ge.

DEVICE bool holds(u32 code, Wide a, Wide b) {
  switch (code) {
    case 0: return a == b;
    case 1: return a != b;
    case 2: return a < b;
    case 3: return a <= b;
    case 4: return a > b;
    default: return a >= b;
  }
}

KERNEL compare(u64 length, u32 code, Walk walk, const Stored* a, const Stored* b, u8* c) {
  Own own = own_elements(length);
  Wide left[WIDTH] = {}, right[WIDTH] = {};
  load_walk(walk, 0, a, own, left);
  load_walk(walk, 1, b, own, right);
  u8 results[WIDTH];
  _Pragma("unroll") for (u32 i = 0; i < WIDTH; i++) results[i] = holds(code, left[i], right[i]);
  store(c + own.first, own.count, results);
}

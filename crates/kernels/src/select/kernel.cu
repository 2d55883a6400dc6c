// y[i] = a[i] where cond[i] is not 0, else b[i]; with broadcasting. Elements of any type, as bits.
// Operand 0 of the walk is cond, operands 1 and 2 are a and b.
KERNEL select(u64 length, Walk walk, const u8* cond, const Stored* a, const Stored* b, Stored* y) {
  Own own = own_elements(length);
  Stored left[WIDTH] = {}, right[WIDTH] = {};
  u8 chosen[WIDTH] = {};
  load_walk(walk, 0, cond, own, chosen);
  load_walk(walk, 1, a, own, left);
  load_walk(walk, 2, b, own, right);
  _Pragma("unroll") for (u32 i = 0; i < WIDTH; i++) left[i] = chosen[i] != 0 ? left[i] : right[i];
  store(y + own.first, own.count, left);
}

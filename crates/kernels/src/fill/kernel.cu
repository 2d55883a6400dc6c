// y[i] = the element with these bits; the host converts the value.
KERNEL fill(u64 length, u64 bits, Stored* y) {
  Own own = own_elements(length);
  Stored value = (Stored)bits, values[WIDTH];
  _Pragma("unroll") for (u32 i = 0; i < WIDTH; i++) values[i] = value;
  store(y + own.first, own.count, values);
}

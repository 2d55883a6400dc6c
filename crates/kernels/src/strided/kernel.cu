// Between a dense tensor and a strided part of another. With SUMS only what adds is compiled, else what moves bits. The scatters go
// through `kept` places, none of which coincide, and at each of them through its `repeats` in their order, so that sums have one order:
// operand 0 of both walks is the place in dst, operand 1 the element of the dense tensor.

#ifndef SUMS
KERNEL gather_view(u64 length, Walk walk, const Stored* x, Stored* y) {
  Own own = own_elements(length);
  Wide values[WIDTH] = {};
  load_walk(walk, 0, x, own, values);
  store(y + own.first, own.count, values);
}

KERNEL scatter_set(u64 kept_length, u64 repeats_length, Walk kept, Walk repeats, const Stored* src, Stored* dst) {
  u64 number = (u64)blockIdx.x * THREADS + threadIdx.x;
  if (number >= kept_length) return;
  u64 place = place_of(kept, 0, number), element = place_of(kept, 1, number);
  // Where places coincide the last one stays.
  for (u64 i = 0; i < repeats_length; i++) dst[place + place_of(repeats, 0, i)] = src[element + place_of(repeats, 1, i)];
}

#else
KERNEL scatter_add(u64 kept_length, u64 repeats_length, Walk kept, Walk repeats, const Stored* src, Stored* dst) {
  u64 number = (u64)blockIdx.x * THREADS + threadIdx.x;
  if (number >= kept_length) return;
  u64 place = place_of(kept, 0, number), element = place_of(kept, 1, number);
  for (u64 i = 0; i < repeats_length; i++) {
    Stored* at = &dst[place + place_of(repeats, 0, i)];
    narrow(at, widen(*at) + widen(src[element + place_of(repeats, 1, i)]));
  }
}
#endif

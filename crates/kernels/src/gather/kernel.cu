// y[o, j, i] = x[o, index[o, j, i], i] for x [outer, dim_x, inner] and index [outer, dim_index, inner], and its adjoint. An index
// outside its dim is refused by `gather_check`, which the host launches first: it leaves the least bad position in `bad`. With SUMS only
// what adds is compiled, else what moves bits.

#ifndef SUMS
KERNEL gather_check(u64 length, u64 dim_x, const i32* index, u64* bad) {
  u64 position = (u64)blockIdx.x * THREADS + threadIdx.x;
  if (position < length && (index[position] < 0 || (u64)index[position] >= dim_x)) atomicMin(bad, position);
}

KERNEL gather(u64 length, u64 dim_x, u64 dim_index, u64 inner, const Stored* x, const i32* index, Stored* y) {
  u64 position = (u64)blockIdx.x * THREADS + threadIdx.x;
  if (position >= length) return;
  u64 outer = position / (dim_index * inner), column = position % inner;
  y[position] = x[(outer * dim_x + (u64)index[position]) * inner + column];
}

#else
// dst[o, index[o, j, i], i] += src[o, j, i], in the order of j: a thread has one o and one i.
KERNEL gather_add(u64 length, u64 dim_x, u64 dim_index, u64 inner, const i32* index, const Stored* src, Stored* dst) {
  u64 number = (u64)blockIdx.x * THREADS + threadIdx.x;
  if (number >= length) return;
  u64 outer = number / inner, column = number % inner;
  for (u64 j = 0; j < dim_index; j++) {
    u64 position = (outer * dim_index + j) * inner + column;
    Stored* at = &dst[(outer * dim_x + (u64)index[position]) * inner + column];
    narrow(at, widen(*at) + widen(src[position]));
  }
}
#endif

// y[i] = weight[index[i] - start]: rows of a table that holds the tokens start..start + rows, and zeros for tokens of others. A token
// outside, which a whole table refuses, leaves the least of its positions in `bad`; bad is null for a part of a table.

DEVICE bool is_held(i32 token, u64 start, u64 rows) { return token >= 0 && (u64)token >= start && (u64)token - start < rows; }

KERNEL embedding(u64 cols, u64 start, u64 rows, const Stored* weight, const i32* index, Stored* y, u64* bad) {
  OwnInRow own = own_in_row(cols);
  i32 token = index[own.row];
  bool held = is_held(token, start, rows);
  if (!held && bad != 0 && own.col == 0 && own.count > 0) atomicMin(bad, own.row);
  float values[WIDTH] = {};
  if (held) load(weight + ((u64)token - start) * cols + own.col, own.count, values);
  store(y + own.row * cols + own.col, own.count, values);
}

// Adds the rows of grad [tokens, cols] to the rows of dst that their tokens name, token after token: the block of a token's first
// position adds for all of them. dst was zeroed before where it is not to be added to.
KERNEL embedding_backward(u64 tokens, u64 cols, u64 start, u64 rows, const i32* index, const Stored* grad, float* dst) {
  __shared__ u32 same[WARP];
  OwnInRow own = own_in_row(cols);
  i32 token = index[own.row];
  // The whole block leaves together.
  if (!is_held(token, start, rows)) return;
  u32 lane = threadIdx.x % WARP, warp = threadIdx.x / WARP, warps = blockDim.x / WARP;
  bool is_later = false;
  for (u64 i = threadIdx.x; i < own.row; i += blockDim.x) is_later = is_later || index[i] == token;
  if (__syncthreads_or(is_later)) return;
  float sums[WIDTH], values[WIDTH];
  float* target = dst + ((u64)token - start) * cols + own.col;
  load(target, own.count, sums);
  for (u64 first = own.row; first < tokens; first += blockDim.x) {
    u64 position = first + threadIdx.x;
    u32 lanes = __ballot_sync(ALL_LANES, position < tokens && index[position] == token);
    __syncthreads();
    if (lane == 0) same[warp] = lanes;
    __syncthreads();
    for (u32 other = 0; other < warps; other++) {
      for (u32 left = same[other]; left != 0; left &= left - 1) {
        u64 found = first + other * WARP + (u32)__ffs(left) - 1;
        load(grad + found * cols + own.col, own.count, values);
        _Pragma("unroll") for (u32 i = 0; i < WIDTH; i++) sums[i] += values[i];
      }
    }
  }
  store(target, own.count, sums);
}

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

// Adds to `sums` the rows of grad that name the token of this block's position, token after token; false where an earlier position names
// it, whose block adds for all of them, and where the table does not hold it. Whole blocks return together.
DEVICE bool sum_uses(u64 tokens, OwnInRow own, u64 cols, bool held, const i32* index, const Stored* grad, u32* same, float* sums) {
  if (!held) return false;
  i32 token = index[own.row];
  u32 lane = threadIdx.x % WARP, warp = threadIdx.x / WARP, warps = blockDim.x / WARP;
  bool is_later = false;
  for (u64 i = threadIdx.x; i < own.row; i += blockDim.x) is_later = is_later || index[i] == token;
  if (__syncthreads_or(is_later)) return false;
  float values[WIDTH];
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
  return true;
}

// Adds the rows of grad [tokens, cols] to the rows of dst that their tokens name. dst was zeroed before where it is not to be added to.
KERNEL embedding_backward(u64 tokens, u64 cols, u64 start, u64 rows, const i32* index, const Stored* grad, float* dst) {
  __shared__ u32 same[WARP];
  OwnInRow own = own_in_row(cols);
  i32 token = index[own.row];
  bool held = is_held(token, start, rows);
  float* target = dst + (held ? (u64)token - start : 0) * cols + own.col;
  float sums[WIDTH] = {};
  if (held) load(target, own.count, sums);
  if (sum_uses(tokens, own, cols, held, index, grad, same, sums)) store(target, own.count, sums);
}

// The same in the type of the rows: each is summed in f32 and rounded once. dst was zeroed before, and is not added to.
KERNEL embedding_gradient(u64 tokens, u64 cols, u64 start, u64 rows, const i32* index, const Stored* grad, Stored* dst) {
  __shared__ u32 same[WARP];
  OwnInRow own = own_in_row(cols);
  i32 token = index[own.row];
  bool held = is_held(token, start, rows);
  float sums[WIDTH] = {};
  if (sum_uses(tokens, own, cols, held, index, grad, same, sums)) store(dst + ((u64)token - start) * cols + own.col, own.count, sums);
}

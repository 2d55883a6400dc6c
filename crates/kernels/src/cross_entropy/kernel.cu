// The pieces of a cross-entropy whose vocabulary is divided among ranks: logits [rows, cols] are this rank's columns from token `start`
// on. A block has a row.

KERNEL ce_row_max(u64 cols, const Stored* logits, float* max) {
  const Stored* row = logits + blockIdx.x * cols;
  float top = float_of(0xff800000u), values[WIDTH];
  for (u64 slot = threadIdx.x; slot * WIDTH < cols; slot += blockDim.x) {
    Own own = own_of_slot(slot, cols);
    load(row + own.first, own.count, values);
    _Pragma("unroll") for (u32 i = 0; i < WIDTH; i++) if (i < own.count) top = larger(top, values[i]);
  }
  top = block_max(top);
  if (threadIdx.x == 0) max[blockIdx.x] = top;
}

DEVICE bool column_of(i32 target, u64 start, u64 cols, u64* column) {
  if (target < 0 || (u64)target < start) return false;
  *column = (u64)target - start;
  return *column < cols;
}

// exp = exp(logits - max), which may lie where the logits do, and stats [2, rows]: the sum of a row's exponentials as they were before
// they were rounded, and its target's logit less the maximum, 0 where another rank holds the target.
KERNEL ce_exp_sum(u64 rows, u64 cols, u64 start, const Stored* logits, const float* max, const i32* targets, Stored* exp, float* stats) {
  u64 row = blockIdx.x, column = 0;
  const Stored* from = logits + row * cols;
  float top = max[row], total = 0.0f, values[WIDTH];
  if (threadIdx.x == 0) stats[rows + row] = column_of(targets[row], start, cols, &column) ? widen(from[column]) - top : 0.0f;
  // Nobody overwrites the target's logit before it is read.
  __syncthreads();
  for (u64 slot = threadIdx.x; slot * WIDTH < cols; slot += blockDim.x) {
    Own own = own_of_slot(slot, cols);
    load(from + own.first, own.count, values);
    _Pragma("unroll") for (u32 i = 0; i < WIDTH; i++) {
      values[i] = exp_of(values[i] - top);
      if (i < own.count) total += values[i];
    }
    store(exp + row * cols + own.first, own.count, values);
  }
  total = block_sum(total);
  if (threadIdx.x == 0) stats[row] = total;
}

// In place: exp becomes (softmax - onehot(target)) grad[row]; stats are those of all ranks together.
KERNEL ce_backward(u64 cols, u64 start, const float* stats, const i32* targets, const float* grad, Stored* exp) {
  OwnInRow own = own_in_row(cols);
  u64 column = 0;
  bool held = column_of(targets[own.row], start, cols, &column);
  float factor = grad[own.row] / stats[own.row], values[WIDTH];
  load(exp + own.row * cols + own.col, own.count, values);
  _Pragma("unroll") for (u32 i = 0; i < WIDTH; i++) {
    values[i] = values[i] * factor;
    if (held && own.col + i == column) values[i] -= grad[own.row];
  }
  store(exp + own.row * cols + own.col, own.count, values);
}

// The pieces of a cross-entropy whose vocabulary is divided among ranks: logits [rows, cols], of which the first `held` columns are this
// rank's tokens from `start` on, and those behind them are never read. A block has a row. Statistics are [2, rows], or with label
// smoothing, which is to say a `uniform` that is not 0, [3, rows].

KERNEL ce_row_max(u64 cols, u64 held, const Stored* logits, float* max) {
  const Stored* row = logits + blockIdx.x * cols;
  float top = float_of(0xff800000u), values[WIDTH];
  for (u64 slot = threadIdx.x; slot * WIDTH < held; slot += blockDim.x) {
    Own own = own_of_slot(slot, held);
    load(row + own.first, own.count, values);
    _Pragma("unroll") for (u32 i = 0; i < WIDTH; i++) if (i < own.count) top = larger(top, values[i]);
  }
  top = block_max(top);
  if (threadIdx.x == 0) max[blockIdx.x] = top;
}

DEVICE bool column_of(i32 target, u64 start, u64 held, u64* column) {
  if (target < 0 || (u64)target < start) return false;
  *column = (u64)target - start;
  return *column < held;
}

// What a row's logits say without exponentials: the target's, 0 where another rank holds it.
DEVICE void set_target(u64 rows, u64 held, u64 start, const Stored* from, float top, const i32* targets, float* stats) {
  u64 row = blockIdx.x, column = 0;
  if (threadIdx.x == 0) stats[rows + row] = column_of(targets[row], start, held, &column) ? widen(from[column]) - top : 0.0f;
  // Nobody overwrites the target's logit before it is read.
  __syncthreads();
}

DEVICE void set_sums(u64 rows, float uniform, float total, float differences, float* stats) {
  total = block_sum(total);
  if (threadIdx.x == 0) stats[blockIdx.x] = total;
  if (uniform == 0.0f) return;
  differences = block_sum(differences);
  if (threadIdx.x == 0) stats[2 * rows + blockIdx.x] = differences;
}

// exp = exp(logits - max) in f32, which may lie where f32 logits do, 0 in columns that are not held, and stats: the sum of a row's
// exponentials, its target's logit less the maximum, and the sum of all logits less it.
KERNEL ce_exp_sum(u64 rows, u64 cols, u64 held, u64 start, float uniform, const Stored* logits, const float* max, const i32* targets,
                  float* exp, float* stats) {
  u64 row = blockIdx.x;
  const Stored* from = logits + row * cols;
  float top = max[row], total = 0.0f, differences = 0.0f, values[WIDTH];
  set_target(rows, held, start, from, top, targets, stats);
  for (u64 slot = threadIdx.x; slot * WIDTH < cols; slot += blockDim.x) {
    Own own = own_of_slot(slot, cols);
    load(from + own.first, own.count, values);
    _Pragma("unroll") for (u32 i = 0; i < WIDTH; i++) {
      bool counts = i < own.count && own.first + i < held;
      float difference = values[i] - top;
      values[i] = counts ? exp_of(difference) : 0.0f;
      total += values[i];
      if (counts) differences += difference;
    }
    store(exp + row * cols + own.first, own.count, values);
  }
  set_sums(rows, uniform, total, differences, stats);
}

// The statistics alone.
KERNEL ce_sums(u64 rows, u64 cols, u64 held, u64 start, float uniform, const Stored* logits, const float* max, const i32* targets,
               float* stats) {
  u64 row = blockIdx.x;
  const Stored* from = logits + row * cols;
  float top = max[row], total = 0.0f, differences = 0.0f, values[WIDTH];
  set_target(rows, held, start, from, top, targets, stats);
  for (u64 slot = threadIdx.x; slot * WIDTH < held; slot += blockDim.x) {
    Own own = own_of_slot(slot, held);
    load(from + own.first, own.count, values);
    _Pragma("unroll") for (u32 i = 0; i < WIDTH; i++) if (i < own.count) {
      total += exp_of(values[i] - top);
      differences += values[i] - top;
    }
  }
  set_sums(rows, uniform, total, differences, stats);
}

// Losses [rows]: ln(sum) less what the target's distribution says of the logits, `hot` of it the target's and `uniform` each token's,
// plus z ln(sum exp(logits))^2. max and stats are those of all ranks.
KERNEL ce_loss(u64 rows, float hot, float uniform, float z, u32 is_ignoring, u32 ignored, const float* stats, const float* max,
               const i32* targets, float* losses) {
  u64 row = (u64)blockIdx.x * THREADS + threadIdx.x;
  if (row >= rows) return;
  float log = ln_of(stats[row]);
  float smoothed = uniform == 0.0f ? 0.0f : uniform * stats[2 * rows + row];
  float whole = z == 0.0f ? 0.0f : log + max[row];
  float value = log - (hot * stats[rows + row] + smoothed) + z * whole * whole;
  losses[row] = is_ignoring && targets[row] == (i32)ignored ? 0.0f : value;
}

// In place: exp becomes the gradient of its row's loss times grad[row]; max and stats are those of all ranks.
KERNEL ce_backward(u64 cols, u64 held, u64 start, float hot, float uniform, float z, u32 is_ignoring, u32 ignored, const float* stats,
                   const float* max, const i32* targets, const float* grad, Stored* exp) {
  OwnInRow own = own_in_row(cols);
  u64 column = 0;
  i32 target = targets[own.row];
  bool is_held = column_of(target, start, held, &column), counts = !is_ignoring || target != (i32)ignored;
  float slope = z == 0.0f ? 1.0f : 1.0f + 2.0f * z * (ln_of(stats[own.row]) + max[own.row]);
  float own_grad = grad[own.row], factor = own_grad / stats[own.row] * slope, even = own_grad * uniform, values[WIDTH];
  load(exp + own.row * cols + own.col, own.count, values);
  _Pragma("unroll") for (u32 i = 0; i < WIDTH; i++) {
    values[i] = values[i] * factor - even;
    if (is_held && own.col + i == column) values[i] -= own_grad * hot;
    if (!counts || own.col + i >= held) values[i] = 0.0f;
  }
  store(exp + own.row * cols + own.col, own.count, values);
}

// Norms of the rows of [rows, cols], with the addition that feeds them: s = residual + (x + bias), where residual and bias may be null;
// then y = (s - mean) rstd w + b. Kind 0 is a layer norm, kind 1 an RMS norm, which has neither mean nor b. The norm is that of the
// sum as it is stored. A block has a row in the forward, some rows in the backward.

// Slots of a row that are this thread's: every blockDim.x-th.
#define EACH_SLOT(own, cols)                                                                         \
  for (u64 slot = threadIdx.x; slot * WIDTH < cols; slot += blockDim.x)                              \
    for (Own own = own_of_slot(slot, cols), *once = &own; once != 0; once = 0)

KERNEL norm_forward(u64 cols, u32 kind, float eps, const Stored* x, const Weight* bias, const Stored* residual, const Weight* w,
                    const Weight* b, Stored* sum, Stored* y, float* stats) {
  u64 row = blockIdx.x;
  const Stored* source = x + row * cols;
  float values[WIDTH], other[WIDTH], total = 0.0f;
  if (sum != 0) {
    Stored* target = sum + row * cols;
    EACH_SLOT(own, cols) {
      load(source + own.first, own.count, values);
      if (bias != 0) {
        load(bias + own.first, own.count, other);
        _Pragma("unroll") for (u32 i = 0; i < WIDTH; i++) values[i] = values[i] + other[i];
      }
      if (residual != 0) {
        load(residual + row * cols + own.first, own.count, other);
        _Pragma("unroll") for (u32 i = 0; i < WIDTH; i++) values[i] = other[i] + values[i];
      }
      store(target + own.first, own.count, values);
    }
    source = target;
  }
  float mean = 0.0f;
  if (kind == 0) {
    EACH_SLOT(own, cols) {
      load(source + own.first, own.count, values);
      _Pragma("unroll") for (u32 i = 0; i < WIDTH; i++) total += values[i];
    }
    mean = block_sum(total) / (float)cols;
  }
  total = 0.0f;
  EACH_SLOT(own, cols) {
    load(source + own.first, own.count, values);
    _Pragma("unroll") for (u32 i = 0; i < WIDTH; i++) if (i < own.count) total += (values[i] - mean) * (values[i] - mean);
  }
  float rstd = 1.0f / sqrtf(block_sum(total) / (float)cols + eps);
  EACH_SLOT(own, cols) {
    load(source + own.first, own.count, values);
    load(w + own.first, own.count, other);
    if (kind == 0) {
      float shift[WIDTH];
      load(b + own.first, own.count, shift);
      _Pragma("unroll") for (u32 i = 0; i < WIDTH; i++) values[i] = madd((values[i] - mean) * rstd, other[i], shift[i]);
    } else {
      _Pragma("unroll") for (u32 i = 0; i < WIDTH; i++) values[i] = values[i] * rstd * other[i];
    }
    store(y + row * cols + own.first, own.count, values);
  }
  if (threadIdx.x > 0) return;
  stats[2 * row] = mean;
  stats[2 * row + 1] = rstd;
}

// With h = (x - mean) rstd and d = grad w: dx = rstd (d - mean(d) - h mean(d h)) + carried, without mean(d) for an RMS norm; carried,
// the gradient of x from elsewhere, may be null. The sums of grad h, grad and dx over a block's rows go to partials [blocks, 3, cols];
// they grow in the launch's shared memory, 12 bytes for each column, where `sums_in_shared` says that there is some.
KERNEL norm_backward(u64 rows, u64 cols, u64 rows_per_block, u32 kind, u32 sums_in_shared, const Stored* grad, const Stored* x,
                     const Weight* w, const float* stats, const Stored* carried, Stored* dx, float* partials) {
  DYNAMIC_SHARED(float, memory);
  float* result = partials + 3 * blockIdx.x * cols;
  float* sums = sums_in_shared ? memory : result;
  // Parts of one thread's own: no other thread reads them.
  u64 part = sums_in_shared ? (cols + 3) / 4 * 4 : cols;
  float zeros[WIDTH] = {};
  EACH_SLOT(own, cols) {
    for (u32 sum = 0; sum < 3; sum++) store(sums + sum * part + own.first, own.count, zeros);
  }
  u64 first = blockIdx.x * rows_per_block, end = first + rows_per_block < rows ? first + rows_per_block : rows;
  for (u64 row = first; row < end; row++) {
    u64 at = row * cols;
    float mean = stats[2 * row], rstd = stats[2 * row + 1], along_one = 0.0f, along_x = 0.0f;
    float grads[WIDTH], values[WIDTH], weights[WIDTH], sum[WIDTH];
    EACH_SLOT(own, cols) {
      load(grad + at + own.first, own.count, grads);
      load(x + at + own.first, own.count, values);
      load(w + own.first, own.count, weights);
      _Pragma("unroll") for (u32 i = 0; i < WIDTH; i++) {
        float d = grads[i] * weights[i];
        along_one += d;
        along_x += d * ((values[i] - mean) * rstd);
      }
    }
    along_one = kind == 0 ? block_sum(along_one) / (float)cols : 0.0f;
    along_x = block_sum(along_x) / (float)cols;
    EACH_SLOT(own, cols) {
      load(grad + at + own.first, own.count, grads);
      load(x + at + own.first, own.count, values);
      load(w + own.first, own.count, weights);
      load(sums + own.first, own.count, sum);
      _Pragma("unroll") for (u32 i = 0; i < WIDTH; i++) {
        values[i] = (values[i] - mean) * rstd;
        sum[i] = madd(grads[i], values[i], sum[i]);
        weights[i] = rstd * (grads[i] * weights[i] - madd(values[i], along_x, along_one));
      }
      store(sums + own.first, own.count, sum);
      if (kind == 0) {
        load(sums + part + own.first, own.count, sum);
        _Pragma("unroll") for (u32 i = 0; i < WIDTH; i++) sum[i] += grads[i];
        store(sums + part + own.first, own.count, sum);
      }
      if (carried != 0) {
        load(carried + at + own.first, own.count, grads);
        _Pragma("unroll") for (u32 i = 0; i < WIDTH; i++) weights[i] += grads[i];
      }
      store(dx + at + own.first, own.count, weights);
      load(sums + 2 * part + own.first, own.count, sum);
      _Pragma("unroll") for (u32 i = 0; i < WIDTH; i++) sum[i] += weights[i];
      store(sums + 2 * part + own.first, own.count, sum);
    }
  }
  if (!sums_in_shared) return;
  EACH_SLOT(own, cols) {
    float sum[WIDTH];
    for (u32 number = 0; number < 3; number++) {
      load(sums + number * part + own.first, own.count, sum);
      store(result + number * cols + own.first, own.count, sum);
    }
  }
}

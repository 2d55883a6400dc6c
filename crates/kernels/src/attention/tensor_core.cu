// The attention of kernel.cu for 16-bit elements on tensor cores (mma.sync m16n8k16, sums in f32): heads of at most HEAD channels, a
// multiple of 8, at places that are multiples of 16 bytes. Weights and their gradients are rounded to the element type for the second
// product, as on the CPU. A block of four warps has 64 rows, 16 to a warp; the tile that stands against them lies in shared memory. A
// bias is left to the plain kernels.
//
// @source Dao, "FlashAttention-2", 2023: the walk over tiles; here dQ and dK, dV come from two kernels, so that no sum has two orders.

#define BLOCK_ROWS 64u
#define BLOCK_THREADS 128u
#define PITCH (HEAD + 8)
#define STEPS (HEAD / 16)
#define TILES (HEAD / 8)
// Rows of the tile that stands against the block's: keys in the forward and for dQ, queries for dK and dV.
#define KEYS 32u
#define QUERIES 16u

// ---- Fragments. Lane l holds rows l / 4 and l / 4 + 8 of a 16 x 8 result, columns 2 (l % 4) and the next.

#define GROUP (threadIdx.x % WARP / 4)
#define COLUMN (threadIdx.x % 4 * 2)

DEVICE u32 pair_at(const u16* at) { return *(const u32*)at; }

DEVICE u32 pair_of(float low, float high) {
  Stored pair[2];
  narrow(&pair[0], low);
  narrow(&pair[1], high);
  return (u32)pair[0].bits | (u32)pair[1].bits << 16;
}

#ifdef MEGATRON_HOST
DEVICE float value_of(u32 word, u32 half) {
  Stored stored;
  stored.bits = (u16)(word >> 16 * half);
  return widen(stored);
}

// c [16, 8] += a [16, 16] b [16, 8], a by rows and b by columns.
DEVICE void multiply(float* c, const u32* a, const u32* b) {
  u32 own[6] = {a[0], a[1], a[2], a[3], b[0], b[1]};
  u32(*lanes)[8] = host::exchange(own, 6);
  for (u32 i = 0; i < 4; i++) {
    u32 row = GROUP + i / 2 * 8, col = COLUMN + i % 2;
    for (u32 k = 0; k < 16; k++) {
      u32 of_pair = k % 8 / 2;
      float left = value_of(lanes[row % 8 * 4 + of_pair][row / 8 + k / 8 * 2], k % 2);
      float right = value_of(lanes[col * 4 + of_pair][4 + k / 8], k % 2);
      c[i] += left * right;
    }
  }
}

// The fragment b of 16 rows and 8 columns that lie PITCH apart by rows.
DEVICE void load_across(const u16* at, u32* b) {
  for (u32 half = 0; half < 2; half++) {
    const u16* first = at + (8 * half + COLUMN) * PITCH + GROUP;
    b[half] = (u32)first[0] | (u32)first[PITCH] << 16;
  }
}
#else
DEVICE void multiply(float* c, const u32* a, const u32* b) {
#if DTYPE == 1
  asm("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, %3};"
#else
  asm("mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, %3};"
#endif
      : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
}

DEVICE void load_across(const u16* at, u32* b) {
  u32 place_of_row = (u32)__cvta_generic_to_shared(at + threadIdx.x % 16 * PITCH);
  asm volatile("ldmatrix.sync.aligned.m8n8.x2.trans.shared.b16 {%0, %1}, [%2];" : "=r"(b[0]), "=r"(b[1]) : "r"(place_of_row) : "memory");
}
#endif

// The fragment a of 16 rows that lie `stride` apart, 16 columns.
DEVICE void load_rows(const u16* at, u64 stride, u32* a) {
  const u16* first = at + GROUP * stride + COLUMN;
  a[0] = pair_at(first);
  a[1] = pair_at(first + 8 * stride);
  a[2] = pair_at(first + 8);
  a[3] = pair_at(first + 8 * stride + 8);
}

// c [16, 8] += the rows of a, held as fragments, times 8 rows of the tile in shared memory.
DEVICE void multiply_rows(float* c, const u32 a[STEPS][4], const u16* tile) {
  const u16* first = tile + GROUP * PITCH + COLUMN;
  _Pragma("unroll") for (u32 step = 0; step < STEPS; step++) {
    u32 b[2] = {pair_at(first + 16 * step), pair_at(first + 16 * step + 8)};
    multiply(c, a[step], b);
  }
}

// sums [16, HEAD] += a [16, 16] times 16 rows of the tile.
DEVICE void multiply_across(float sums[TILES][4], const u32* a, const u16* tile) {
  _Pragma("unroll") for (u32 n = 0; n < TILES; n++) {
    u32 b[2];
    load_across(tile + 8 * n, b);
    multiply(sums[n], a, b);
  }
}

// Two results [16, 8] that lie side by side, as a fragment a of the next product.
DEVICE void as_rows(const float* left, const float* right, u32* a) {
  a[0] = pair_of(left[0], left[1]);
  a[1] = pair_of(left[2], left[3]);
  a[2] = pair_of(right[0], right[1]);
  a[3] = pair_of(right[2], right[3]);
}

// ---- Moving tiles.

// Rows first..first + count of a tensor of one head into shared memory; zeros beyond its end.
DEVICE void load_tile(const Shape& shape, const Stored* start, u64 token_stride, u32 rows, u32 first, u32 count, u16* tile) {
  const Sixteen zeros = {{0, 0, 0, 0}};
  for (u32 i = threadIdx.x; i < count * TILES; i += BLOCK_THREADS) {
    u32 row = i / TILES, channel = i % TILES * 8;
    bool inside = first + row < rows && channel < shape.head_dim;
    *(Sixteen*)(tile + row * PITCH + channel) = inside ? *(const Sixteen*)(start + (first + row) * token_stride + channel) : zeros;
  }
}

// This warp's 16 rows as fragments, by way of shared memory that holds the block's 64.
DEVICE void load_own(const u16* tile, u32 a[STEPS][4]) {
  _Pragma("unroll") for (u32 step = 0; step < STEPS; step++) load_rows(tile + threadIdx.x / WARP * 16 * PITCH + 16 * step, PITCH, a[step]);
}

// The rows of a result, times a factor for each of the two that a lane holds.
DEVICE void store_rows(const Shape& shape, Stored* start, u64 token_stride, u32 rows, u32 first, float low, float high,
                       const float sums[TILES][4]) {
  _Pragma("unroll") for (u32 half = 0; half < 2; half++) {
    u32 row = first + GROUP + 8 * half;
    float factor = half == 0 ? low : high;
    if (row >= rows) continue;
    _Pragma("unroll") for (u32 n = 0; n < TILES; n++) {
      u32 channel = 8 * n + COLUMN;
      if (channel < shape.head_dim)
        *(u32*)(start + row * token_stride + channel) = pair_of(sums[n][2 * half] * factor, sums[n][2 * half + 1] * factor);
    }
  }
}

// The sum over the four lanes of a row.
DEVICE float row_sum(float value) {
  value += __shfl_xor_sync(ALL_LANES, value, 1);
  return value + __shfl_xor_sync(ALL_LANES, value, 2);
}

DEVICE float row_max(float value) {
  value = larger(value, __shfl_xor_sync(ALL_LANES, value, 1));
  return larger(value, __shfl_xor_sync(ALL_LANES, value, 2));
}

// ---- The kernels.

KERNEL __launch_bounds__(BLOCK_THREADS)
attention(Shape shape, const u32* draw, const i32* query_segments, const i32* key_segments, const Stored* q, const Stored* k,
          const Stored* v, Stored* out, float* lse) {
  const Segments segments = {query_segments, key_segments};
  alignas(16) __shared__ u16 memory[BLOCK_ROWS * PITCH];
  u16 *keys = memory, *values = memory + KEYS * PITCH;
  Item item = item_of(shape.queries, shape.batch, shape.heads, BLOCK_ROWS);
  u32 key_head = item.head / shape.heads_per_key, first_row = item.first + threadIdx.x / WARP * 16;
  const Stored* key_start = k + place(shape.key, 0, item.sample, key_head);
  const Stored* value_start = v + place(shape.key, 0, item.sample, key_head);
  u32 own[STEPS][4];
  load_tile(shape, q + place(shape.query, 0, item.sample, item.head), shape.query[0], shape.queries, item.first, BLOCK_ROWS, memory);
  __syncthreads();
  load_own(memory, own);
  float top[2] = {float_of(0xff800000u), float_of(0xff800000u)}, total[2] = {0.0f, 0.0f}, sums[TILES][4] = {};
  u32 end = end_key_of(shape, item.first, BLOCK_ROWS);
  bool is_packed = query_segments != 0 || key_segments != 0;
  Span span = span_of(query_segments, shape, shape.queries, item.sample, item.first, is_packed ? BLOCK_ROWS : 0);
  for (u32 first = first_key_of(shape, item.first) / KEYS * KEYS; first < end; first += KEYS) {
    if (is_packed && !meets(span, key_segments, shape, shape.keys, item.sample, first, KEYS)) continue;
    __syncthreads();
    load_tile(shape, key_start, shape.key[0], shape.keys, first, KEYS, keys);
    load_tile(shape, value_start, shape.key[0], shape.keys, first, KEYS, values);
    __syncthreads();
    float scores[KEYS / 8][4] = {}, best[2] = {float_of(0xff800000u), float_of(0xff800000u)}, base[2], shrink[2];
    _Pragma("unroll") for (u32 n = 0; n < KEYS / 8; n++) {
      multiply_rows(scores[n], own, keys + 8 * n * PITCH);
      _Pragma("unroll") for (u32 i = 0; i < 4; i++) {
        u32 query = first_row + GROUP + i / 2 * 8, key = first + 8 * n + COLUMN + i % 2;
        if (!is_seen(shape, segments, item.sample, query, key)) scores[n][i] = float_of(0xff800000u);
        best[i / 2] = larger(best[i / 2], scores[n][i]);
      }
    }
    _Pragma("unroll") for (u32 half = 0; half < 2; half++) {
      best[half] = larger(top[half], row_max(best[half]) * shape.scale);
      base[half] = best[half] == float_of(0xff800000u) ? 0.0f : best[half];
      shrink[half] = exp_of(top[half] - base[half]);
      total[half] *= shrink[half];
      top[half] = best[half];
    }
    _Pragma("unroll") for (u32 n = 0; n < KEYS / 8; n++) {
      _Pragma("unroll") for (u32 i = 0; i < 4; i++) {
        scores[n][i] = exp_of(madd(scores[n][i], shape.scale, -base[i / 2]));
        total[i / 2] += scores[n][i];
        if (draw != 0)
          scores[n][i] *= kept_factor(shape, draw, item.sample, item.head, first_row + GROUP + i / 2 * 8, first + 8 * n + COLUMN + i % 2);
      }
    }
    _Pragma("unroll") for (u32 n = 0; n < TILES; n++) {
      _Pragma("unroll") for (u32 i = 0; i < 4; i++) sums[n][i] *= shrink[i / 2];
    }
    _Pragma("unroll") for (u32 step = 0; step < KEYS / 16; step++) {
      u32 weights[4];
      as_rows(scores[2 * step], scores[2 * step + 1], weights);
      multiply_across(sums, weights, values + 16 * step * PITCH);
    }
  }
  total[0] = row_sum(total[0]);
  total[1] = row_sum(total[1]);
  store_rows(shape, out + place(shape.out, 0, item.sample, item.head), shape.out[0], shape.queries, first_row,
             inverse_of(total[0]), inverse_of(total[1]), sums);
  _Pragma("unroll") for (u32 half = 0; half < 2; half++) {
    u32 query = first_row + GROUP + 8 * half;
    if (COLUMN == 0 && query < shape.queries)
      lse[((u64)item.sample * shape.heads + item.head) * shape.queries + query] = lse_of(top[half], total[half]);
  }
}

KERNEL __launch_bounds__(BLOCK_THREADS)
attention_backward_q(Shape shape, const u32* draw, const i32* query_segments, const i32* key_segments, const Stored* q, const Stored* k,
                     const Stored* v, const Stored* grad, const float* lse, const float* delta, Stored* dq) {
  const Segments segments = {query_segments, key_segments};
  alignas(16) __shared__ u16 memory[BLOCK_ROWS * PITCH];
  u16 *keys = memory, *values = memory + KEYS * PITCH;
  Item item = item_of(shape.queries, shape.batch, shape.heads, BLOCK_ROWS);
  u32 key_head = item.head / shape.heads_per_key, first_row = item.first + threadIdx.x / WARP * 16;
  const Stored* key_start = k + place(shape.key, 0, item.sample, key_head);
  const Stored* value_start = v + place(shape.key, 0, item.sample, key_head);
  u32 own[STEPS][4], own_grad[STEPS][4];
  load_tile(shape, q + place(shape.query, 0, item.sample, item.head), shape.query[0], shape.queries, item.first, BLOCK_ROWS, memory);
  __syncthreads();
  load_own(memory, own);
  __syncthreads();
  load_tile(shape, grad + place(shape.out, 0, item.sample, item.head), shape.out[0], shape.queries, item.first, BLOCK_ROWS, memory);
  __syncthreads();
  load_own(memory, own_grad);
  float own_lse[2], own_delta[2], sums[TILES][4] = {};
  _Pragma("unroll") for (u32 half = 0; half < 2; half++) {
    u32 query = first_row + GROUP + 8 * half;
    u64 row = ((u64)item.sample * shape.heads + item.head) * shape.queries + query;
    own_lse[half] = query < shape.queries ? lse[row] : 0.0f;
    own_delta[half] = query < shape.queries ? delta[row] : 0.0f;
  }
  u32 end = end_key_of(shape, item.first, BLOCK_ROWS);
  bool is_packed = query_segments != 0 || key_segments != 0;
  Span span = span_of(query_segments, shape, shape.queries, item.sample, item.first, is_packed ? BLOCK_ROWS : 0);
  for (u32 first = first_key_of(shape, item.first) / KEYS * KEYS; first < end; first += KEYS) {
    if (is_packed && !meets(span, key_segments, shape, shape.keys, item.sample, first, KEYS)) continue;
    __syncthreads();
    load_tile(shape, key_start, shape.key[0], shape.keys, first, KEYS, keys);
    load_tile(shape, value_start, shape.key[0], shape.keys, first, KEYS, values);
    __syncthreads();
    // Sixteen keys at a time: their gradients are the fragment of one step of the second product.
    _Pragma("unroll") for (u32 step = 0; step < KEYS / 16; step++) {
      float slopes[2][4];
      _Pragma("unroll") for (u32 n = 0; n < 2; n++) {
        float scores[4] = {}, changes[4] = {};
        multiply_rows(scores, own, keys + (16 * step + 8 * n) * PITCH);
        multiply_rows(changes, own_grad, values + (16 * step + 8 * n) * PITCH);
        _Pragma("unroll") for (u32 i = 0; i < 4; i++) {
          u32 query = first_row + GROUP + i / 2 * 8, key = first + 16 * step + 8 * n + COLUMN + i % 2;
          slopes[n][i] = 0.0f;
          if (!is_seen(shape, segments, item.sample, query, key)) continue;
          float weight = exp_of(madd(scores[i], shape.scale, -own_lse[i / 2]));
          float change = changes[i] * kept_factor(shape, draw, item.sample, item.head, query, key);
          slopes[n][i] = shape.scale * weight * (change - own_delta[i / 2]);
        }
      }
      u32 fragment[4];
      as_rows(slopes[0], slopes[1], fragment);
      multiply_across(sums, fragment, keys + 16 * step * PITCH);
    }
  }
  store_rows(shape, dq + place(shape.query, 0, item.sample, item.head), shape.query[0], shape.queries, first_row, 1.0f, 1.0f, sums);
}

// A key head's gradients are sums over the query heads that share it, one after the other.
KERNEL __launch_bounds__(BLOCK_THREADS)
attention_backward_kv(Shape shape, const u32* draw, const i32* query_segments, const i32* key_segments, const Stored* q, const Stored* k,
                      const Stored* v, const Stored* grad, const float* lse, const float* delta, Stored* dk, Stored* dv) {
  const Segments segments = {query_segments, key_segments};
  alignas(16) __shared__ u16 keys[BLOCK_ROWS * PITCH], values[BLOCK_ROWS * PITCH], queries[QUERIES * PITCH], grads[QUERIES * PITCH];
  Item item = item_of(shape.keys, shape.batch, shape.heads / shape.heads_per_key, BLOCK_ROWS);
  u32 own_row = threadIdx.x / WARP * 16, first_row = item.first + own_row;
  load_tile(shape, k + place(shape.key, 0, item.sample, item.head), shape.key[0], shape.keys, item.first, BLOCK_ROWS, keys);
  load_tile(shape, v + place(shape.key, 0, item.sample, item.head), shape.key[0], shape.keys, item.first, BLOCK_ROWS, values);
  float key_sums[TILES][4] = {}, value_sums[TILES][4] = {};
  u32 end = end_query_of(shape, item.first, BLOCK_ROWS);
  bool is_packed = query_segments != 0 || key_segments != 0;
  Span span = span_of(key_segments, shape, shape.keys, item.sample, item.first, is_packed ? BLOCK_ROWS : 0);
  for (u32 head = item.head * shape.heads_per_key; head < (item.head + 1) * shape.heads_per_key; head++) {
    const float* head_lse = lse + ((u64)item.sample * shape.heads + head) * shape.queries;
    const float* head_delta = delta + ((u64)item.sample * shape.heads + head) * shape.queries;
    for (u32 first = first_query_of(shape, item.first) / QUERIES * QUERIES; first < end; first += QUERIES) {
      if (is_packed && !meets(span, query_segments, shape, shape.queries, item.sample, first, QUERIES)) continue;
      __syncthreads();
      load_tile(shape, q + place(shape.query, 0, item.sample, head), shape.query[0], shape.queries, first, QUERIES, queries);
      load_tile(shape, grad + place(shape.out, 0, item.sample, head), shape.out[0], shape.queries, first, QUERIES, grads);
      __syncthreads();
      float weights[2][4] = {}, slopes[2][4] = {};
      _Pragma("unroll") for (u32 step = 0; step < STEPS; step++) {
        u32 key_rows[4], value_rows[4];
        load_rows(keys + own_row * PITCH + 16 * step, PITCH, key_rows);
        load_rows(values + own_row * PITCH + 16 * step, PITCH, value_rows);
        _Pragma("unroll") for (u32 n = 0; n < 2; n++) {
          u32 at = (8 * n + GROUP) * PITCH + COLUMN + 16 * step;
          u32 of_query[2] = {pair_at(queries + at), pair_at(queries + at + 8)}, of_grad[2] = {pair_at(grads + at), pair_at(grads + at + 8)};
          multiply(weights[n], key_rows, of_query);
          multiply(slopes[n], value_rows, of_grad);
        }
      }
      _Pragma("unroll") for (u32 n = 0; n < 2; n++) {
        _Pragma("unroll") for (u32 i = 0; i < 4; i++) {
          u32 key = first_row + GROUP + i / 2 * 8, query = first + 8 * n + COLUMN + i % 2;
          bool seen = is_seen(shape, segments, item.sample, query, key);
          float factor = seen ? kept_factor(shape, draw, item.sample, head, query, key) : 0.0f;
          float weight = seen ? exp_of(madd(weights[n][i], shape.scale, -head_lse[query])) : 0.0f;
          slopes[n][i] = seen ? shape.scale * weight * (slopes[n][i] * factor - head_delta[query]) : 0.0f;
          weights[n][i] = weight * factor;
        }
      }
      u32 fragment[4];
      as_rows(weights[0], weights[1], fragment);
      multiply_across(value_sums, fragment, grads);
      as_rows(slopes[0], slopes[1], fragment);
      multiply_across(key_sums, fragment, queries);
    }
  }
  store_rows(shape, dk + place(shape.key, 0, item.sample, item.head), shape.key[0], shape.keys, first_row, 1.0f, 1.0f, key_sums);
  store_rows(shape, dv + place(shape.key, 0, item.sample, item.head), shape.key[0], shape.keys, first_row, 1.0f, 1.0f, value_sums);
}

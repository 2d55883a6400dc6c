// Attention in plain f32 arithmetic, any element type and any head of at most HEAD channels: the reference, and the fallback where
// neither cuDNN nor the tensor-core kernels apply. Per head out = F softmax(scale q k^T + bias) v, F the factors of dropout; lse saves
// ln sum exp of each row, from which the backward computes the probabilities again:
// dV = (P F)^T grad, dS = P (F grad V^T - delta), dQ = scale dS K, dK = scale dS^T Q, delta = sum(out grad) of a row. dS summed over the
// samples is the gradient of bias [heads, queries, keys], which is null for none.
//
// A warp has one row, a query in the forward and for dQ, a key for dK and dV; its lanes are the 32 rows of the tile that stands against
// it, and then the channels of the result. Sums go from tile to tile in order, so their bits do not depend on the launch.

#define ROWS 8u
#define PITCH (HEAD + 1)
#define CHANNELS (HEAD / WARP)

// Rows first..first + 32 of a tensor of one head into f32 shared memory; zeros beyond its end.
DEVICE void load_tile(const Shape& shape, const Stored* start, u64 token_stride, u32 rows, u32 first, float* tile) {
  for (u32 i = threadIdx.x; i < WARP * HEAD; i += ROWS * WARP) {
    u32 row = i / HEAD, channel = i % HEAD;
    bool inside = first + row < rows && channel < shape.head_dim;
    tile[row * PITCH + channel] = inside ? widen(start[(first + row) * token_stride + channel]) : 0.0f;
  }
}

// One row of a tensor into the part of shared memory that belongs to this warp.
DEVICE void load_row(const Shape& shape, const Stored* start, u64 token_stride, u32 rows, u32 row, float* to) {
  u32 lane = threadIdx.x % WARP;
  for (u32 channel = lane; channel < HEAD; channel += WARP) {
    bool inside = row < rows && channel < shape.head_dim;
    to[channel] = inside ? widen(start[row * token_stride + channel]) : 0.0f;
  }
  __syncwarp();
}

// Scores of a row with their bias, and the factor that they still need.
struct Score {
  float value;
  float scale;
};

DEVICE Score score_of(const Shape& shape, const float* bias, u32 head, u32 query, u32 key, float product) {
  Score score = {product, bias == 0 ? shape.scale : 1.0f};
  if (bias != 0 && query < shape.queries && key < shape.keys)
    score.value = madd(product, shape.scale, bias[((u64)head * shape.queries + query) * shape.keys + key]);
  return score;
}

// P of a seen key; a row whose every score is -inf has none.
DEVICE float weight_of(Score score, float lse) {
  return lse == float_of(0xff800000u) ? 0.0f : exp_of(madd(score.value, score.scale, -lse));
}

DEVICE float dot(const float* row, const float* tile_row) {
  float sum = 0.0f;
  _Pragma("unroll 16") for (u32 channel = 0; channel < HEAD; channel++) sum = madd(row[channel], tile_row[channel], sum);
  return sum;
}

// sums += the lanes' weights times the rows of the tile.
DEVICE void add_weighted(float weight, const float* tile, float* sums) {
  u32 lane = threadIdx.x % WARP;
  for (u32 row = 0; row < WARP; row++) {
    float of_row = __shfl_sync(ALL_LANES, weight, row);
    _Pragma("unroll") for (u32 j = 0; j < CHANNELS; j++) sums[j] = madd(of_row, tile[row * PITCH + lane + j * WARP], sums[j]);
  }
}

DEVICE void store_row(const Shape& shape, Stored* row, float factor, const float* sums) {
  _Pragma("unroll") for (u32 j = 0; j < CHANNELS; j++) {
    u32 channel = threadIdx.x % WARP + j * WARP;
    if (channel < shape.head_dim) narrow(&row[channel], sums[j] * factor);
  }
}

KERNEL attention_plain(Shape shape, const u32* draw, const i32* query_segments, const i32* key_segments, const float* bias, const Stored* q,
                       const Stored* k, const Stored* v, Stored* out, float* lse) {
  const Segments segments = {query_segments, key_segments};
  DYNAMIC_SHARED(float, keys);
  float* values = keys + WARP * PITCH;
  u32 warp = threadIdx.x / WARP, lane = threadIdx.x % WARP;
  float* own = values + WARP * PITCH + warp * HEAD;
  Item item = item_of(shape.queries, shape.batch, shape.heads, ROWS);
  u32 query = item.first + warp, key_head = item.head / shape.heads_per_key;
  const Stored* key_start = k + place(shape.key, 0, item.sample, key_head);
  const Stored* value_start = v + place(shape.key, 0, item.sample, key_head);
  load_row(shape, q + place(shape.query, 0, item.sample, item.head), shape.query[0], shape.queries, query, own);
  float top = float_of(0xff800000u), total = 0.0f, sums[CHANNELS] = {};
  u32 end = end_key_of(shape, item.first, ROWS);
  bool is_packed = query_segments != 0 || key_segments != 0;
  Span span = span_of(query_segments, shape, shape.queries, item.sample, item.first, is_packed ? ROWS : 0);
  for (u32 first = first_key_of(shape, item.first) / WARP * WARP; first < end; first += WARP) {
    if (is_packed && !meets(span, key_segments, shape, shape.keys, item.sample, first, WARP)) continue;
    __syncthreads();
    load_tile(shape, key_start, shape.key[0], shape.keys, first, keys);
    load_tile(shape, value_start, shape.key[0], shape.keys, first, values);
    __syncthreads();
    bool seen = is_seen(shape, segments, item.sample, query, first + lane);
    Score score = score_of(shape, bias, item.head, query, first + lane, dot(own, keys + lane * PITCH));
    float best = larger(top, warp_max(seen ? score.value : float_of(0xff800000u)) * score.scale);
    float base = best == float_of(0xff800000u) ? 0.0f : best, shrink = exp_of(top - base);
    float weight = seen ? exp_of(madd(score.value, score.scale, -base)) : 0.0f;
    total = total * shrink + warp_sum(weight);
    if (seen) weight *= kept_factor(shape, draw, item.sample, item.head, query, first + lane);
    _Pragma("unroll") for (u32 j = 0; j < CHANNELS; j++) sums[j] *= shrink;
    add_weighted(weight, values, sums);
    top = best;
  }
  if (query >= shape.queries) return;
  store_row(shape, out + place(shape.out, query, item.sample, item.head), inverse_of(total), sums);
  if (lane == 0) lse[((u64)item.sample * shape.heads + item.head) * shape.queries + query] = lse_of(top, total);
}

// delta [batch, heads, seq] = sum(out grad) of each row: a warp has a row.
KERNEL attention_delta(Shape shape, const Stored* out, const Stored* grad, float* delta) {
  u64 number = (u64)blockIdx.x * ROWS + threadIdx.x / WARP;
  if (number >= (u64)shape.batch * shape.heads * shape.queries) return;
  u64 head = number / shape.queries;
  u64 at = place(shape.out, number % shape.queries, (u32)(head / shape.heads), (u32)(head % shape.heads));
  float sum = 0.0f;
  for (u32 channel = threadIdx.x % WARP; channel < shape.head_dim; channel += WARP)
    sum += widen(out[at + channel]) * widen(grad[at + channel]);
  sum = warp_sum(sum);
  if (threadIdx.x % WARP == 0) delta[number] = sum;
}

KERNEL attention_plain_backward_q(Shape shape, const u32* draw, const i32* query_segments, const i32* key_segments, const float* bias,
                                  const Stored* q, const Stored* k, const Stored* v, const Stored* grad, const float* lse,
                                  const float* delta, Stored* dq) {
  const Segments segments = {query_segments, key_segments};
  DYNAMIC_SHARED(float, keys);
  float* values = keys + WARP * PITCH;
  u32 warp = threadIdx.x / WARP, lane = threadIdx.x % WARP;
  float* own = values + WARP * PITCH + warp * HEAD;
  float* own_grad = own + ROWS * HEAD;
  Item item = item_of(shape.queries, shape.batch, shape.heads, ROWS);
  u32 query = item.first + warp, key_head = item.head / shape.heads_per_key;
  const Stored* key_start = k + place(shape.key, 0, item.sample, key_head);
  const Stored* value_start = v + place(shape.key, 0, item.sample, key_head);
  load_row(shape, q + place(shape.query, 0, item.sample, item.head), shape.query[0], shape.queries, query, own);
  load_row(shape, grad + place(shape.out, 0, item.sample, item.head), shape.out[0], shape.queries, query, own_grad);
  u64 row = ((u64)item.sample * shape.heads + item.head) * shape.queries + query;
  float own_lse = query < shape.queries ? lse[row] : 0.0f, own_delta = query < shape.queries ? delta[row] : 0.0f, sums[CHANNELS] = {};
  u32 end = end_key_of(shape, item.first, ROWS);
  bool is_packed = query_segments != 0 || key_segments != 0;
  Span span = span_of(query_segments, shape, shape.queries, item.sample, item.first, is_packed ? ROWS : 0);
  for (u32 first = first_key_of(shape, item.first) / WARP * WARP; first < end; first += WARP) {
    if (is_packed && !meets(span, key_segments, shape, shape.keys, item.sample, first, WARP)) continue;
    __syncthreads();
    load_tile(shape, key_start, shape.key[0], shape.keys, first, keys);
    load_tile(shape, value_start, shape.key[0], shape.keys, first, values);
    __syncthreads();
    float product = dot(own, keys + lane * PITCH), change = dot(own_grad, values + lane * PITCH), slope = 0.0f;
    if (is_seen(shape, segments, item.sample, query, first + lane)) {
      float weight = weight_of(score_of(shape, bias, item.head, query, first + lane, product), own_lse);
      slope = shape.scale * weight * (change * kept_factor(shape, draw, item.sample, item.head, query, first + lane) - own_delta);
    }
    add_weighted(slope, keys, sums);
  }
  if (query < shape.queries) store_row(shape, dq + place(shape.query, query, item.sample, item.head), 1.0f, sums);
}

// A key head's gradients are sums over the query heads that share it, one after the other.
KERNEL attention_plain_backward_kv(Shape shape, const u32* draw, const i32* query_segments, const i32* key_segments, const float* bias,
                                   const Stored* q, const Stored* k, const Stored* v, const Stored* grad, const float* lse,
                                   const float* delta, Stored* dk, Stored* dv) {
  const Segments segments = {query_segments, key_segments};
  DYNAMIC_SHARED(float, queries);
  float* grads = queries + WARP * PITCH;
  u32 warp = threadIdx.x / WARP, lane = threadIdx.x % WARP;
  float* own = grads + WARP * PITCH + warp * HEAD;
  float* own_value = own + ROWS * HEAD;
  Item item = item_of(shape.keys, shape.batch, shape.heads / shape.heads_per_key, ROWS);
  u32 key = item.first + warp;
  load_row(shape, k + place(shape.key, 0, item.sample, item.head), shape.key[0], shape.keys, key, own);
  load_row(shape, v + place(shape.key, 0, item.sample, item.head), shape.key[0], shape.keys, key, own_value);
  float key_sums[CHANNELS] = {}, value_sums[CHANNELS] = {};
  u32 end = end_query_of(shape, item.first, ROWS);
  bool is_packed = query_segments != 0 || key_segments != 0;
  Span span = span_of(key_segments, shape, shape.keys, item.sample, item.first, is_packed ? ROWS : 0);
  for (u32 head = item.head * shape.heads_per_key; head < (item.head + 1) * shape.heads_per_key; head++) {
    const float* head_lse = lse + ((u64)item.sample * shape.heads + head) * shape.queries;
    const float* head_delta = delta + ((u64)item.sample * shape.heads + head) * shape.queries;
    for (u32 first = first_query_of(shape, item.first) / WARP * WARP; first < end; first += WARP) {
      if (is_packed && !meets(span, query_segments, shape, shape.queries, item.sample, first, WARP)) continue;
      __syncthreads();
      load_tile(shape, q + place(shape.query, 0, item.sample, head), shape.query[0], shape.queries, first, queries);
      load_tile(shape, grad + place(shape.out, 0, item.sample, head), shape.out[0], shape.queries, first, grads);
      __syncthreads();
      u32 query = first + lane;
      float product = dot(own, queries + lane * PITCH), change = dot(own_value, grads + lane * PITCH), slope = 0.0f, weight = 0.0f;
      if (is_seen(shape, segments, item.sample, query, key)) {
        float factor = kept_factor(shape, draw, item.sample, head, query, key);
        weight = weight_of(score_of(shape, bias, head, query, key, product), head_lse[query]);
        slope = shape.scale * weight * (change * factor - head_delta[query]);
        weight *= factor;
      }
      add_weighted(weight, grads, value_sums);
      add_weighted(slope, queries, key_sums);
    }
  }
  if (key >= shape.keys) return;
  store_row(shape, dk + place(shape.key, key, item.sample, item.head), 1.0f, key_sums);
  store_row(shape, dv + place(shape.key, key, item.sample, item.head), 1.0f, value_sums);
}

// A warp has one query of a head; what its lanes' keys get from the samples is added in their order.
KERNEL attention_plain_backward_bias(Shape shape, const u32* draw, const i32* query_segments, const i32* key_segments, const float* bias,
                                     const Stored* q, const Stored* k, const Stored* v, const Stored* grad, const float* lse,
                                     const float* delta, float* dbias) {
  const Segments segments = {query_segments, key_segments};
  DYNAMIC_SHARED(float, keys);
  float* values = keys + WARP * PITCH;
  u32 warp = threadIdx.x / WARP, lane = threadIdx.x % WARP;
  float* own = values + WARP * PITCH + warp * HEAD;
  float* own_grad = own + ROWS * HEAD;
  Item item = item_of(shape.queries, 1, shape.heads, ROWS);
  u32 query = item.first + warp, key_head = item.head / shape.heads_per_key;
  for (u32 first = 0; first < shape.keys; first += WARP) {
    u32 key = first + lane;
    float sum = 0.0f;
    for (u32 sample = 0; sample < shape.batch; sample++) {
      __syncthreads();
      load_tile(shape, k + place(shape.key, 0, sample, key_head), shape.key[0], shape.keys, first, keys);
      load_tile(shape, v + place(shape.key, 0, sample, key_head), shape.key[0], shape.keys, first, values);
      load_row(shape, q + place(shape.query, 0, sample, item.head), shape.query[0], shape.queries, query, own);
      load_row(shape, grad + place(shape.out, 0, sample, item.head), shape.out[0], shape.queries, query, own_grad);
      __syncthreads();
      float product = dot(own, keys + lane * PITCH), change = dot(own_grad, values + lane * PITCH);
      if (is_seen(shape, segments, sample, query, key)) {
        u64 row = ((u64)sample * shape.heads + item.head) * shape.queries + query;
        float weight = weight_of(score_of(shape, bias, item.head, query, key, product), lse[row]);
        sum += weight * (change * kept_factor(shape, draw, sample, item.head, query, key) - delta[row]);
      }
    }
    if (query < shape.queries && key < shape.keys) dbias[((u64)item.head * shape.queries + query) * shape.keys + key] = sum;
  }
}

// What the attention kernels are told, and which keys a query sees.

// Strides are in elements, of tokens, samples and heads; query strides are those of q and its gradient, key strides those of k and v and
// theirs. `heads_per_key` query heads share a key head. `window` is 0 for none. Without dropout the draw is null.
struct Shape {
  u32 queries;
  u32 keys;
  u32 batch;
  u32 heads;
  u32 head_dim;
  u32 heads_per_key;
  u32 causal;
  u32 window;
  u32 threshold;
  float scale;
  float factor;
  u64 query[3];
  u64 key[3];
  u64 out[3];
};

DEVICE u64 place(const u64* strides, u64 token, u32 sample, u32 head) { return token * strides[0] + sample * strides[1] + head * strides[2]; }

// The segments of queries [queries, batch] and of keys [keys, batch]: a query sees only keys of its own, and negative numbers see nothing
// and are not seen. Where one is null, all its rows are of segment 0.
struct Segments {
  const i32* queries;
  const i32* keys;
};

DEVICE i32 segment_of(const i32* segments, const Shape& shape, u32 sample, u32 row) {
  return segments == 0 ? 0 : segments[(u64)row * shape.batch + sample];
}

DEVICE bool is_seen(const Shape& shape, const Segments& segments, u32 sample, u32 query, u32 key) {
  if (query >= shape.queries || key >= shape.keys || (shape.causal && key > query)) return false;
  if (shape.window != 0 && query - key >= shape.window) return false;
  if (segments.queries == 0 && segments.keys == 0) return true;
  i32 own = segment_of(segments.queries, shape, sample, query);
  return own >= 0 && own == segment_of(segments.keys, shape, sample, key);
}

// The keys that some query of first..first + count sees.
DEVICE u32 first_key_of(const Shape& shape, u32 first) { return shape.window != 0 && first >= shape.window ? first + 1 - shape.window : 0; }
DEVICE u32 end_key_of(const Shape& shape, u32 first, u32 count) {
  return shape.causal && first + count < shape.keys ? first + count : shape.keys;
}

// The queries that see some key of first..first + count.
DEVICE u32 first_query_of(const Shape& shape, u32 first) { return shape.causal ? first : 0; }
DEVICE u32 end_query_of(const Shape& shape, u32 first, u32 count) {
  u64 end = (u64)first + count - 1 + shape.window;
  return shape.window != 0 && end < shape.queries ? (u32)end : shape.queries;
}

// The segments that rows of a tile have, negative ones apart: none where `least` is above `most`.
struct Span {
  i32 least;
  i32 most;
};

DEVICE Span span_of(const i32* segments, const Shape& shape, u32 rows, u32 sample, u32 first, u32 count) {
  Span span = {0x7fffffff, -1};
  for (u32 row = first; row < first + count && row < rows; row++) {
    i32 own = segment_of(segments, shape, sample, row);
    if (own < 0) continue;
    span.least = own < span.least ? own : span.least;
    span.most = own > span.most ? own : span.most;
  }
  return span;
}

// Whether a tile of rows may be seen from one whose segments span these: packed documents follow each other, so that most tiles of other
// documents are told by this, and need not be read. All threads of a block ask together, and there are at least `count` of them.
DEVICE bool meets(Span span, const i32* segments, const Shape& shape, u32 rows, u32 sample, u32 first, u32 count) {
  u32 row = first + threadIdx.x;
  i32 own = threadIdx.x < count && row < rows ? segment_of(segments, shape, sample, row) : -1;
  return __syncthreads_or(own >= span.least && own <= span.most) != 0;
}

// A row that sees no key has a sum of zero: its output is zero, and its log-sum-exp -inf.
DEVICE float inverse_of(float total) { return total == 0.0f ? 0.0f : 1.0f / total; }
DEVICE float lse_of(float top, float total) { return total == 0.0f ? float_of(0xff800000u) : top + ln_of(total); }

// Which tile, sample and head a block has: the tiles at the end of the sequence first, which are the longest of a causal attention.
struct Item {
  u32 first;
  u32 sample;
  u32 head;
};

DEVICE Item item_of(u32 rows, u32 batch, u32 heads, u32 tile) {
  u32 tiles = (rows + tile - 1) / tile, number = blockIdx.x % (heads * batch);
  Item item;
  item.first = (tiles - 1 - blockIdx.x / (heads * batch)) * tile;
  item.sample = number / heads;
  item.head = number % heads;
  return item;
}

// Whether a probability is left out: key 4 c + lane is word `lane` of the block with counter (c, query, head, sample).
DEVICE float kept_factor(const Shape& shape, const u32* draw, u32 sample, u32 head, u32 query, u32 key) {
  if (draw == 0) return 1.0f;
  Words words = dropout_words(draw, key / 4, query, draw[3] + head, draw[2] + sample);
  return word_of(words, key % 4) < shape.threshold ? 0.0f : shape.factor;
}

// Rotary position embedding of [seq, batch, heads, head_dim]: within the first `rotated` channels of the first `turned_heads` heads
// pair i is turned by the angle whose cosine and sine are at [position, i] and [position, rotated / 2 + i] of table [.., rotated]. A pair
// is (i, i + rotated / 2), or (2 i, 2 i + 1) when interleaved. The position of a token is at [token, sample] of positions, or its place
// in the sequence where that is null. All else is copied. `direction` is 1, or -1 for the backward: the gradient is turned back. x and y
// may be one.
//
// @source Su, Lu, Pan, Murtadha, Wen, Liu, "RoFormer: enhanced transformer with rotary position embedding", 2021.
KERNEL rotary(u64 pairs, u32 batch, u32 heads, u32 turned_heads, u32 head_dim, u32 rotated, u32 interleaved, float direction,
              const float* table, const i32* positions, const Stored* x, Stored* y) {
  u64 number = (u64)blockIdx.x * THREADS + threadIdx.x;
  if (number >= pairs) return;
  u32 slots = (head_dim + 1) / 2, pair = (u32)(number % slots);
  u64 row = number / slots, at = row * head_dim;
  if (row % heads >= turned_heads || pair >= rotated / 2) {
    y[at + 2 * pair] = x[at + 2 * pair];
    if (2 * pair + 1 < head_dim) y[at + 2 * pair + 1] = x[at + 2 * pair + 1];
    return;
  }
  u64 place = row / heads, position = positions == 0 ? place / batch : (u64)positions[place];
  u64 first = at + (interleaved ? 2 * pair : pair), second = first + (interleaved ? 1 : rotated / 2);
  float c = table[position * rotated + pair], s = direction * table[position * rotated + rotated / 2 + pair];
  float a = widen(x[first]), b = widen(x[second]);
  narrow(&y[first], a * c - b * s);
  narrow(&y[second], b * c + a * s);
}

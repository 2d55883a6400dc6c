// Rotary position embedding of [seq, batch, heads, head_dim], or of a part of a wider tensor by its strides: within the first `rotated`
// channels pair i is turned by the angle whose cosine and sine are at [token, i] of cos and sin [seq, rotated / 2]. A pair is
// (i, i + rotated / 2), or (2 i, 2 i + 1) when interleaved. The other channels are copied. `direction` is 1, or -1 for the backward:
// the gradient is turned back. x and y may be one.
//
// @source Su, Lu, Pan, Murtadha, Wen, Liu, "RoFormer: enhanced transformer with rotary position embedding", 2021.
KERNEL rotary(u64 pairs, u32 batch, u32 heads, u32 head_dim, u32 rotated, u32 interleaved, float direction, u64 token_stride,
              u64 sample_stride, u64 head_stride, const float* cos, const float* sin, const Stored* x, Stored* y) {
  u64 number = (u64)blockIdx.x * THREADS + threadIdx.x;
  if (number >= pairs) return;
  u32 half = head_dim / 2, pair = (u32)(number % half);
  u64 row = number / half;
  u32 head = (u32)(row % heads), sample = (u32)(row / heads % batch);
  u64 token = row / heads / batch;
  u64 at = token * token_stride + sample * sample_stride + head * head_stride;
  if (pair >= rotated / 2) {
    y[at + 2 * pair] = x[at + 2 * pair];
    y[at + 2 * pair + 1] = x[at + 2 * pair + 1];
    return;
  }
  u64 first = at + (interleaved ? 2 * pair : pair), second = first + (interleaved ? 1 : rotated / 2);
  float c = cos[token * (rotated / 2) + pair], s = direction * sin[token * (rotated / 2) + pair];
  float a = widen(x[first]), b = widen(x[second]);
  narrow(&y[first], a * c - b * s);
  narrow(&y[second], b * c + a * s);
}

// Adam with decoupled weight decay, or with L2 regularisation, over a whole flat bucket. The numbers of the step lie in memory, so that
// a captured step may change them: hyper is [lr, beta1, beta2, eps, weightDecay, biasCorrection1, biasCorrection2, gradScale, decoupled].
// model, the weights rounded to the element type, may be null. A gradScale that is NaN leaves everything as it is.
KERNEL adamw(u64 length, const float* hyper, const float* g, float* p, float* m, float* v, Stored* model) {
  Own own = own_elements(length);
  float lr = hyper[0], beta1 = hyper[1], beta2 = hyper[2], eps = hyper[3], decay = hyper[4], scale = hyper[7];
  bool is_decoupled = hyper[8] != 0.0f;
  if (scale != scale) return;
  float rate = lr / hyper[5], root = sqrtf(hyper[6]), rest1 = 1.0f - beta1, rest2 = 1.0f - beta2, kept = 1.0f - lr * decay;
  float grads[WIDTH], weights[WIDTH], first[WIDTH], second[WIDTH];
  load(g + own.first, own.count, grads);
  load(p + own.first, own.count, weights);
  load(m + own.first, own.count, first);
  load(v + own.first, own.count, second);
  _Pragma("unroll") for (u32 i = 0; i < WIDTH; i++) {
    float grad = grads[i] * scale, weight = weights[i];
    if (is_decoupled) weight *= kept;
    else grad = madd(decay, weight, grad);
    first[i] = madd(beta1, first[i], rest1 * grad);
    second[i] = madd(beta2, second[i], rest2 * grad * grad);
    weights[i] = weight - rate * (first[i] / (sqrtf(second[i]) / root + eps));
  }
  store(p + own.first, own.count, weights);
  store(m + own.first, own.count, first);
  store(v + own.first, own.count, second);
  if (model != 0) store(model + own.first, own.count, weights);
}

#define NUMBERS 9u
#define GRAD_SCALE 7u
// Limbs of an exact sum of squares that count, and the last places, which count NaN and infinity (crates/kernels/src/sum_squares).
#define DIGITS 22u
#define NAN_COUNT 20u
#define INFINITY_COUNT 21u

// The nearest double of a sum of squares, whose limb j counts 2^(32 j - 300).
DEVICE double resolved(const u64* limbs) {
  if (limbs[NAN_COUNT] > 0) return double_of(0x7ff8000000000000ull);
  if (limbs[INFINITY_COUNT] > 0) return double_of(0x7ff0000000000000ull);
  // From the least digit on: the last that is not 0, at least number 2, the two before it, and whether anything lies below those.
  u64 carry = 0, before[2] = {0, 0}, top = 0, leading = 0, rest = 0, below = 0;
  i32 place = 0;
  for (u32 j = 0; j < DIGITS; j++) {
    carry += j < NAN_COUNT ? limbs[j] : 0;
    u64 digit = carry & 0xffffffffu;
    carry >>= 32;
    if (j == 2 || (j > 2 && digit != 0)) {
      top = digit;
      leading = before[1] << 32 | before[0];
      rest = below;
      place = 32 * ((i32)j - 2);
    }
    below |= before[0];
    before[0] = before[1];
    before[1] = digit;
  }
  // 64 bits from the first that is set on: more than a double holds, so that what lies below only decides a tie, by the last of them.
  i32 shift = 0;
  for (; top >> shift != 0; shift++) {
    rest |= leading & 1;
    leading >>= 1;
  }
  leading |= shift > 0 ? top << (64 - shift) : 0;
  if (rest != 0) leading |= 1;
  return (double)leading * double_of((u64)(1023 + place + shift - 300) << 52);
}

// The numbers of a step where they depend on what only the device knows: the norm of the gradients, and how many updates were made before,
// for steps may be left out. outcome is [norm, whether the step is left out, updates with this one]. choices begins with the number of
// updates (u32) that its first set is for, then `sets` of them follow for one update more each, of 9 numbers for each group; their
// gradScale is replaced by what brings the norm down to max_norm, or by NaN where the norm is not finite. One thread.
KERNEL adamw_numbers(u32 groups, u32 sets, double max_norm, const u64* limbs, const float* choices, double* outcome, float* hyper) {
  if (threadIdx.x > 0) return;
  double norm = sqrt(resolved(limbs)), updates = outcome[2], factor = max_norm / (norm + 1e-6);
  bool is_left_out = (bits_of_double(norm) >> 52 & 0x7ff) == 0x7ff;
  float scale = is_left_out ? float_of(0x7fc00000u) : factor < 1.0 ? (float)factor : 1.0f;
  u64 set = (u64)updates - bits_of(choices[0]);
  if (set >= sets) set = sets - 1;
  const float* chosen = choices + 1 + set * groups * NUMBERS;
  for (u32 i = 0; i < groups * NUMBERS; i++) hyper[i] = i % NUMBERS == GRAD_SCALE ? scale : chosen[i];
  outcome[0] = norm;
  outcome[1] = is_left_out ? 1.0 : 0.0;
  outcome[2] = is_left_out ? updates : updates + 1.0;
}

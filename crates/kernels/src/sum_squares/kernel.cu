// The sum of squares of a bucket, exactly: the same bits whatever the order, the blocks and the shards. A square is m^2 2^(2e - 300) with
// m < 2^24 and e the exponent's bits, an integer in fixed point; limb j counts 2^(32 j - 300), 20 limbs of 32 bits, and two further
// places count NaN and infinity (crates/kernels/src/sum_squares/mod.rs).

#define NUMBER 20u
#define LIMBS 22u
// Slots of a thread.
#define SLOTS 16u

// An exact sum of squares whose exponents lie in one window of 16: `bucket` counts 2^(32 bucket - 300).
struct Window {
  u32 bucket;
  u64 low;
  u64 high;
};

// Adds the sum to the limbs of the block and starts anew.
DEVICE void flush(Window* window, u64* limbs) {
  u64* limb = limbs + window->bucket;
  if (window->low != 0) {
    atomicAdd(&limb[0], window->low & 0xffffffffu);
    atomicAdd(&limb[1], window->low >> 32);
  }
  if (window->high != 0) {
    atomicAdd(&limb[2], window->high & 0xffffffffu);
    atomicAdd(&limb[3], window->high >> 32);
  }
  window->low = window->high = 0;
}

DEVICE void add_square(float x, Window* window, u64* limbs) {
  u32 bits = bits_of(x), exponent = bits >> 23 & 0xff;
  if (exponent == 255) {
    atomicAdd(&limbs[(bits & 0x007fffffu) != 0 ? NUMBER : NUMBER + 1], 1ull);
    return;
  }
  u64 mantissa = (bits & 0x007fffffu) | (exponent != 0 ? 0x00800000u : 0);
  if (mantissa == 0) return;
  // Subnormals have the weight of exponent 1.
  u32 weight = exponent != 0 ? exponent : 1, shift = 2 * (weight % 16);
  if (weight / 16 != window->bucket) {
    flush(window, limbs);
    window->bucket = weight / 16;
  }
  u64 square = mantissa * mantissa, low = square << shift;
  window->low += low;
  window->high += (shift == 0 ? 0 : square >> (64 - shift)) + (window->low < low ? 1 : 0);
}

// Adds to limbs [22], which may then be 2^32 and more.
KERNEL sum_squares(u64 length, const Stored* x, u64* limbs) {
  __shared__ u64 own_limbs[LIMBS];
  if (threadIdx.x < LIMBS) own_limbs[threadIdx.x] = 0;
  __syncthreads();
  Window window = {8, 0, 0};
  u64 first = (u64)blockIdx.x * SLOTS * THREADS + threadIdx.x;
  for (u32 number = 0; number < SLOTS; number++) {
    Own own = own_of_slot(first + number * THREADS, length);
    float values[WIDTH];
    load(x + own.first, own.count, values);
    for (u32 i = 0; i < own.count; i++) add_square(values[i], &window, own_limbs);
  }
  flush(&window, own_limbs);
  __syncthreads();
  if (threadIdx.x < LIMBS && own_limbs[threadIdx.x] != 0) atomicAdd(&limbs[threadIdx.x], own_limbs[threadIdx.x]);
}

// Carries, so that each limb of the number is below 2^32: one thread.
KERNEL sum_squares_carry(u64* limbs) {
  if (threadIdx.x > 0) return;
  u64 carry = 0;
  for (u32 j = 0; j < NUMBER; j++) {
    u64 sum = limbs[j] + carry;
    limbs[j] = sum & 0xffffffffu;
    carry = sum >> 32;
  }
}

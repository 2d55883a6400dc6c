// What every kernel's text begins with. No CUDA header is needed: NVRTC compiles this as it stands. Compiled with MEGATRON_HOST, the
// same text runs on a CPU, thread after thread, to prove its numbers.
//
// DTYPE chooses the element type Stored, WEIGHT_DTYPE that of vectors (biases, the weights of norms): 0 f32, 1 bf16, 2 f16, 3 f64,
// 4 i32, 5 i64, 6 u8, 7 any two bytes (for what only moves bits). Products are contracted only where `madd` says so (--fmad=false), so that an element's bits are those of the CPU
// wherever the order of the sums is the same.

typedef unsigned char u8;
typedef unsigned short u16;
typedef unsigned int u32;
typedef unsigned long long u64;
typedef int i32;
typedef long long i64;

#define DEVICE __device__ __forceinline__
#ifdef MEGATRON_HOST
#define KERNEL static void
#else
#define KERNEL extern "C" __global__ void
#endif

#ifndef WEIGHT_DTYPE
#define WEIGHT_DTYPE DTYPE
#endif

// ---- Element types. A 16-bit float is a struct of its own, so that nobody computes with its bits by mistake.

struct Bf16 {
  u16 bits;
};
struct F16 {
  u16 bits;
};
struct alignas(16) Sixteen {
  u32 words[4];
};

#ifdef MEGATRON_HOST
DEVICE float float_of(u32 bits) { float value; __builtin_memcpy(&value, &bits, 4); return value; }
DEVICE u32 bits_of(float value) { u32 bits; __builtin_memcpy(&bits, &value, 4); return bits; }
DEVICE double double_of(u64 bits) { double value; __builtin_memcpy(&value, &bits, 8); return value; }
DEVICE u64 bits_of_double(double value) { u64 bits; __builtin_memcpy(&bits, &value, 8); return bits; }

DEVICE u16 bf16_bits(float value) {
  u32 bits = bits_of(value), rounded = bits + 0x7fffu + (bits >> 16 & 1u);
  return (u16)((value != value ? bits | 0x00400000u : rounded) >> 16);
}

DEVICE float f16_value(u16 bits) {
  u32 magnitude = (u32)(bits & 0x7fff) << 13;
  // A product with 2^112 moves the exponent's bias from 15 to 127, also for subnormals.
  u32 finite = bits_of(float_of(magnitude) * float_of(0x77800000u));
  u32 value = magnitude >= 0x0f800000u ? magnitude | 0x7f800000u : finite;
  return float_of(value | (u32)(bits & 0x8000) << 16);
}

DEVICE u16 f16_bits(float value) {
  u32 bits = bits_of(value), sign = bits >> 16 & 0x8000u, magnitude = bits & 0x7fffffffu;
  u32 special = magnitude > 0x7f800000u ? 0x7e00u | (magnitude >> 13 & 0x3ffu) : 0x7c00u;
  // A sum with one half puts the last bit of a subnormal f16 at the last bit of the sum, which rounds to nearest even.
  u32 subnormal = bits_of(float_of(magnitude) + 0.5f) - 0x3f000000u;
  u32 normal = (magnitude + 0xc8000fffu + (magnitude >> 13 & 1u)) >> 13;
  u32 finite = magnitude < 0x38800000u ? subnormal : normal;
  return (u16)(sign | (magnitude >= 0x47800000u ? special : finite));
}
#else
DEVICE float float_of(u32 bits) { return __uint_as_float(bits); }
DEVICE u32 bits_of(float value) { return __float_as_uint(value); }
DEVICE double double_of(u64 bits) { return __longlong_as_double((i64)bits); }
DEVICE u64 bits_of_double(double value) { return (u64)__double_as_longlong(value); }

// To nearest even, NaN to the canonical NaN.
DEVICE u16 bf16_bits(float value) {
  u16 bits;
  asm("cvt.rn.bf16.f32 %0, %1;" : "=h"(bits) : "f"(value));
  return bits;
}

DEVICE float f16_value(u16 bits) {
  float value;
  asm("cvt.f32.f16 %0, %1;" : "=f"(value) : "h"(bits));
  return value;
}

DEVICE u16 f16_bits(float value) {
  u16 bits;
  asm("cvt.rn.f16.f32 %0, %1;" : "=h"(bits) : "f"(value));
  return bits;
}
#endif

DEVICE float widen(float value) { return value; }
DEVICE float widen(Bf16 value) { return float_of((u32)value.bits << 16); }
DEVICE float widen(F16 value) { return f16_value(value.bits); }
DEVICE double widen(double value) { return value; }
DEVICE i32 widen(i32 value) { return value; }
DEVICE i64 widen(i64 value) { return value; }
DEVICE u8 widen(u8 value) { return value; }
DEVICE u16 widen(u16 value) { return value; }

DEVICE void narrow(float* at, float value) { *at = value; }
DEVICE void narrow(Bf16* at, float value) { at->bits = bf16_bits(value); }
DEVICE void narrow(F16* at, float value) { at->bits = f16_bits(value); }
DEVICE void narrow(double* at, double value) { *at = value; }
DEVICE void narrow(i32* at, i32 value) { *at = value; }
DEVICE void narrow(i64* at, i64 value) { *at = value; }
DEVICE void narrow(u8* at, u8 value) { *at = value; }
DEVICE void narrow(u16* at, u16 value) { *at = value; }

#if DTYPE == 0
typedef float Stored;
typedef float Wide;
#elif DTYPE == 1
typedef Bf16 Stored;
typedef float Wide;
#elif DTYPE == 2
typedef F16 Stored;
typedef float Wide;
#elif DTYPE == 3
typedef double Stored;
typedef double Wide;
#elif DTYPE == 4
typedef i32 Stored;
typedef i32 Wide;
#elif DTYPE == 5
typedef i64 Stored;
typedef i64 Wide;
#elif DTYPE == 6
typedef u8 Stored;
typedef u8 Wide;
#else
typedef u16 Stored;
typedef u16 Wide;
#endif

#if WEIGHT_DTYPE == 0
typedef float Weight;
#elif WEIGHT_DTYPE == 1
typedef Bf16 Weight;
#elif WEIGHT_DTYPE == 2
typedef F16 Weight;
#else
typedef Stored Weight;
#endif

#ifdef MEGATRON_HOST
#define DYNAMIC_SHARED(Type, name) Type* name = (Type*)host::dynamic_shared
#else
// The memory whose size the launch says.
#define DYNAMIC_SHARED(Type, name)             \
  extern __shared__ Sixteen name##_memory[]; \
  Type* name = (Type*)name##_memory
#endif

// Elements that a thread takes at once: 16 bytes of the element type.
#define WIDTH ((u32)(16 / sizeof(Stored)))
// The threads of a block of element-wise kernels.
#define THREADS 256u
#define WARP 32u
#define ALL_LANES 0xffffffffu

// ---- Which elements are a thread's own. crates/kernels/src/cuda/index.rs says the same in Rust, and is tested.

// `count` elements from `first` on.
struct Own {
  u64 first;
  u32 count;
};

// The elements of slot `slot` among `length`, WIDTH to a slot; the last slot may have fewer, slots beyond have none.
DEVICE Own own_of_slot(u64 slot, u64 length) {
  u64 first = slot * WIDTH;
  Own own;
  own.first = first < length ? first : length;
  u64 left = length - own.first;
  own.count = left < WIDTH ? (u32)left : WIDTH;
  return own;
}

// Element-wise: each thread has one slot of the whole.
DEVICE Own own_elements(u64 length) { return own_of_slot((u64)blockIdx.x * THREADS + threadIdx.x, length); }

// A slot of one row of a matrix, each row being cut into `tiles` blocks. A row of `cols` begins at element row * cols.
struct OwnInRow {
  u64 row;
  u64 col;
  u32 count;
};

DEVICE OwnInRow own_in_row(u64 cols) {
  u64 tile_cols = (u64)blockDim.x * WIDTH;
  u64 tiles = (cols + tile_cols - 1) / tile_cols;
  OwnInRow own;
  own.row = blockIdx.x / tiles;
  Own slot = own_of_slot(blockIdx.x % tiles * blockDim.x + threadIdx.x, cols);
  own.col = slot.first;
  own.count = slot.count;
  return own;
}

// A slot of columns within a chunk of rows, for sums over the rows: blocks go through the tiles of columns of one chunk, then of the next.
struct OwnColumns {
  u64 col;
  u32 count;
  u64 chunk;
  u64 first_row;
  u64 end_row;
};

DEVICE OwnColumns own_columns(u64 rows, u64 cols, u64 rows_per_chunk) {
  u64 tile_cols = (u64)blockDim.x * WIDTH;
  u64 tiles = (cols + tile_cols - 1) / tile_cols;
  OwnColumns own;
  Own slot = own_of_slot(blockIdx.x % tiles * blockDim.x + threadIdx.x, cols);
  own.col = slot.first;
  own.count = slot.count;
  own.chunk = blockIdx.x / tiles;
  own.first_row = own.chunk * rows_per_chunk;
  u64 left = rows - own.first_row;
  own.end_row = own.first_row + (left < rows_per_chunk ? left : rows_per_chunk);
  return own;
}

// ---- Moving up to WIDTH elements. Whole slots at aligned places move as vectors of 16 bytes, others one by one.

DEVICE bool is_aligned(const void* at) { return ((u64)at & 15) == 0; }

#define ELEMENT_MOVES(Type, Value)                                                                  \
  DEVICE void load(const Type* at, u32 count, Value* values) {                                     \
    if (count == WIDTH && is_aligned(at)) {                                                        \
      union { Sixteen vectors[(WIDTH * sizeof(Type) + 15) / 16]; Type elements[WIDTH]; } moved;     \
      if (WIDTH * sizeof(Type) >= 16) {                                                            \
        _Pragma("unroll") for (u32 i = 0; i < (WIDTH * sizeof(Type) + 15) / 16; i++)                    \
          moved.vectors[i] = ((const Sixteen*)at)[i];                                              \
      } else {                                                                                     \
        _Pragma("unroll") for (u32 i = 0; i < WIDTH; i++) moved.elements[i] = at[i];               \
      }                                                                                            \
      _Pragma("unroll") for (u32 i = 0; i < WIDTH; i++) values[i] = widen(moved.elements[i]);      \
      return;                                                                                      \
    }                                                                                              \
    _Pragma("unroll") for (u32 i = 0; i < WIDTH; i++) values[i] = i < count ? widen(at[i]) : 0;    \
  }                                                                                                \
  DEVICE void store(Type* at, u32 count, const Value* values) {                                    \
    if (count == WIDTH && is_aligned(at)) {                                                        \
      union { Sixteen vectors[(WIDTH * sizeof(Type) + 15) / 16]; Type elements[WIDTH]; } moved;     \
      _Pragma("unroll") for (u32 i = 0; i < WIDTH; i++) narrow(&moved.elements[i], values[i]);     \
      if (WIDTH * sizeof(Type) >= 16) {                                                            \
        _Pragma("unroll") for (u32 i = 0; i < (WIDTH * sizeof(Type) + 15) / 16; i++)                    \
          ((Sixteen*)at)[i] = moved.vectors[i];                                                    \
      } else {                                                                                     \
        _Pragma("unroll") for (u32 i = 0; i < WIDTH; i++) at[i] = moved.elements[i];               \
      }                                                                                            \
      return;                                                                                      \
    }                                                                                              \
    _Pragma("unroll") for (u32 i = 0; i < WIDTH; i++) if (i < count) narrow(&at[i], values[i]);    \
  }

ELEMENT_MOVES(float, float)
ELEMENT_MOVES(Bf16, float)
ELEMENT_MOVES(F16, float)
ELEMENT_MOVES(double, double)
ELEMENT_MOVES(i32, i32)
ELEMENT_MOVES(i64, i64)
ELEMENT_MOVES(u8, u8)
ELEMENT_MOVES(u16, u16)

// ---- Walks of a dense index space through strided memory, as crates/kernels/src/layout.rs describes them.

#define MAX_RANK 12

// Extents, and for each of up to three operands its strides in elements and its first element. Stride 0 repeats.
struct Walk {
  u64 rank;
  u64 dims[MAX_RANK];
  u64 strides[3][MAX_RANK];
  u64 offsets[3];
};

// Where element `number` of the walk lies in an operand.
DEVICE u64 place_of(const Walk& walk, u32 operand, u64 number) {
  u64 place = walk.offsets[operand];
  for (u64 dim = walk.rank; dim-- > 0;) {
    u64 extent = walk.dims[dim], index;
    if (((number | extent) >> 32) == 0) {
      index = (u32)number % (u32)extent;
      number = (u32)number / (u32)extent;
    } else {
      index = number % extent;
      number /= extent;
    }
    place += index * walk.strides[operand][dim];
  }
  return place;
}

// Loads a thread's own elements of the walk: run by run along the innermost dim, as vectors where they lie side by side.
#define WALK_LOADS(Type, Value)                                                                        \
  DEVICE void load_walk(const Walk& walk, u32 operand, const Type* x, Own own, Value* values) {        \
    u64 inner = walk.dims[walk.rank - 1], stride = walk.strides[operand][walk.rank - 1];               \
    for (u32 done = 0; done < own.count;) {                                                            \
      u64 left = inner - (own.first + done) % inner;                                                   \
      u32 end = left < own.count - done ? done + (u32)left : own.count;                                \
      const Type* at = x + place_of(walk, operand, own.first + done);                                  \
      if (stride == 1 && end == WIDTH && done == 0) return load(at, WIDTH, values);                    \
      _Pragma("unroll") for (u32 i = 0; i < WIDTH; i++)                                                \
        if (i >= done && i < end) values[i] = widen(at[(i - done) * stride]);                          \
      done = end;                                                                                      \
    }                                                                                                  \
  }

WALK_LOADS(Stored, Wide)
#if DTYPE != 6
WALK_LOADS(u8, u8)
#endif

// ---- Sums over the threads of a warp and of a block, in an order that the number of threads alone decides.

DEVICE float warp_sum(float value) {
  _Pragma("unroll") for (u32 half = 16; half > 0; half /= 2) value += __shfl_xor_sync(ALL_LANES, value, half);
  return value;
}

DEVICE float larger(float a, float b) { return b > a ? b : a; }

DEVICE float warp_max(float value) {
  _Pragma("unroll") for (u32 half = 16; half > 0; half /= 2) value = larger(value, __shfl_xor_sync(ALL_LANES, value, half));
  return value;
}

// The sum over the block, in every thread; whole warps, and every thread of the block calls it.
DEVICE float block_sum(float value) {
  __shared__ float of_warps[WARP];
  value = warp_sum(value);
  __syncthreads();
  if (threadIdx.x % WARP == 0) of_warps[threadIdx.x / WARP] = value;
  __syncthreads();
  u32 lane = threadIdx.x % WARP;
  return warp_sum(lane < blockDim.x / WARP ? of_warps[lane] : 0.0f);
}

// The largest value of the block; NaN is passed over.
DEVICE float block_max(float value) {
  __shared__ float of_warps[WARP];
  value = warp_max(value);
  __syncthreads();
  if (threadIdx.x % WARP == 0) of_warps[threadIdx.x / WARP] = value;
  __syncthreads();
  u32 lane = threadIdx.x % WARP;
  return warp_max(lane < blockDim.x / WARP ? of_warps[lane] : float_of(0xff800000u));
}

// ---- Random words.

struct Words {
  u32 word[4];
};

// Philox 4x32-10: Salmon, Moraes, Dror, Shaw, "Parallel random numbers: as easy as 1, 2, 3", SC 2011.
DEVICE Words philox(Words counter, u32 key0, u32 key1) {
  // Not wholly unrolled: the text has it many times.
  _Pragma("unroll 2") for (u32 round = 0; round < 10; round++) {
    u64 product0 = (u64)0xd2511f53u * counter.word[0], product1 = (u64)0xcd9e8d57u * counter.word[2];
    Words next;
    next.word[0] = (u32)(product1 >> 32) ^ counter.word[1] ^ key0;
    next.word[1] = (u32)product1;
    next.word[2] = (u32)(product0 >> 32) ^ counter.word[3] ^ key1;
    next.word[3] = (u32)product0;
    counter = next;
    key0 += 0x9e3779b9u;
    key1 += 0xbb67ae85u;
  }
  return counter;
}

// One of the four by a number that is not known when the text is compiled: registers have no index.
DEVICE u32 word_of(Words words, u32 lane) {
  return lane < 2 ? (lane == 0 ? words.word[0] : words.word[1]) : (lane == 2 ? words.word[2] : words.word[3]);
}

// What a dropout draws with; key, first sample and first head come from memory, so that a captured step may change them:
// `draw` is [key 0, key 1, first sample, first head or token].
DEVICE Words dropout_words(const u32* draw, u32 block, u32 query, u32 head, u32 sample) {
  Words counter = {{block, query, head, sample}};
  return philox(counter, draw[0], draw[1]);
}

// ---- Functions, with the polynomials of the CPU (crates/kernels/src/exp.rs and transcendental.rs) and their bits.

// a * b + c, rounded once.
DEVICE float madd(float a, float b, float c) { return fmaf(a, b, c); }

// e^x within two units in the last place, subnormal results and infinities included.
DEVICE float exp_of(float x) {
  x = x > 89.0f ? 89.0f : x;
  x = x < -104.0f ? -104.0f : x;
  const float round = 12582912.0f;
  float rounded = madd(x, 1.44269504088896340736f, round);
  float n = rounded - round;
  float r = madd(-n, -2.1219444e-4f, madd(-n, 0.6933594f, x));
  float series = 1.9875691e-4f;
  series = madd(series, r, 1.3982e-3f);
  series = madd(series, r, 8.333452e-3f);
  series = madd(series, r, 4.1665796e-2f);
  series = madd(series, r, 1.6666665e-1f);
  series = madd(series, r, 0.5f);
  float y = madd(series, r * r, r) + 1.0f;
  // 2^n in two factors: n may be one beyond the exponents on either side.
  i32 power = (i32)(bits_of(rounded) - bits_of(round)), half = power >> 1;
  return y * float_of((u32)(half + 127) << 23) * float_of((u32)(power - half + 127) << 23);
}

// Natural logarithm within 2.5 units in the last place; -inf at 0, NaN below.
DEVICE float ln_of(float x) {
  bool tiny = x < 1.17549435e-38f;
  i32 bits = (i32)bits_of(tiny ? x * 8388608.0f : x);
  // The exponent such that the mantissa lies in [sqrt 1/2, sqrt 2).
  i32 exponent = (i32)((u32)bits - 0x3f3504f3u) >> 23;
  float mantissa = float_of((u32)bits - ((u32)exponent << 23));
  float e = (float)exponent - (tiny ? 23.0f : 0.0f), m = mantissa - 1.0f, z = m * m;
  float series = 7.0376836e-2f;
  series = madd(series, m, -1.151461e-1f);
  series = madd(series, m, 1.1676999e-1f);
  series = madd(series, m, -1.2420141e-1f);
  series = madd(series, m, 1.4249323e-1f);
  series = madd(series, m, -1.6668057e-1f);
  series = madd(series, m, 2.0000715e-1f);
  series = madd(series, m, -2.4999994e-1f);
  series = madd(series, m, 3.333333e-1f);
  float tail = madd(e, -2.1219444e-4f, series * m * z);
  float value = madd(e, 0.6933594f, m + madd(z, -0.5f, tail));
  value = x == 0.0f ? float_of(0xff800000u) : value;
  value = x < 0.0f ? float_of(0x7fc00000u) : value;
  return x < float_of(0x7f800000u) ? value : x;
}

// Hyperbolic tangent within 2.5 units in the last place.
DEVICE float tanh_of(float x) {
  float size = fabsf(x), z = x * x;
  float series = -5.7049887e-3f;
  series = madd(series, z, 2.063909e-2f);
  series = madd(series, z, -5.3739716e-2f);
  series = madd(series, z, 1.3331442e-1f);
  series = madd(series, z, -3.333328e-1f);
  float small = madd(series * z, x, x);
  float large = copysignf(1.0f - 2.0f / (exp_of(2.0f * size) + 1.0f), x);
  return size < 0.625f ? small : large;
}

struct Normal {
  // The probability that a standard normal value is below x, and e^(-x^2 / 2).
  float below, bell;
};

DEVICE Normal normal_of(float x) {
  const float round = 12582912.0f;
  float size = fabsf(x), t = size > 13.27f ? 13.27f : size, square = t * t;
  float rounded = madd(square, -0.7213475f, round);
  float rest = madd(square, -0.7213475f, -(rounded - round));
  float series = 1.5353362e-4f;
  series = madd(series, rest, 1.3398875e-3f);
  series = madd(series, rest, 9.618437e-3f);
  series = madd(series, rest, 5.5503324e-2f);
  series = madd(series, rest, 2.4022648e-1f);
  series = madd(series, rest, 6.931472e-1f);
  series = madd(series, rest, 1.0f);
  float bell = series * float_of((bits_of(rounded) - bits_of(round) + 127) << 23);
  float above = 3.990852e-3f;
  above = madd(above, t, 3.979936e-2f);
  above = madd(above, t, 1.8077745e-1f);
  above = madd(above, t, 4.3500137e-1f);
  above = madd(above, t, 0.5f);
  float below = 1.0003435e-2f;
  below = madd(below, t, 9.976973e-2f);
  below = madd(below, t, 4.6297723e-1f);
  below = madd(below, t, 1.1923332f);
  below = madd(below, t, 1.6678876f);
  below = madd(below, t, 1.0f);
  float tail = bell * above / below;
  Normal normal = {x < 0.0f ? tail : 1.0f - tail, bell};
  return normal;
}

DEVICE float sigmoid_of(float x) { return 1.0f / (1.0f + exp_of(-x)); }

// 2 (2/pi)^(1/2), and the same times 0.044715: the tanh form of GELU is x sigmoid(x (GELU_LINEAR + GELU_CUBIC x^2)).
#define GELU_LINEAR 1.5957691216057307
#define GELU_CUBIC (GELU_LINEAR * 0.044715)

DEVICE float gelu_gate(float x) {
  return sigmoid_of(x * madd(x * x, (float)GELU_CUBIC, (float)GELU_LINEAR));
}

DEVICE float gelu_of(float x) { return x * gelu_gate(x); }

// g times the derivative of GELU at x.
DEVICE float gelu_backward(float x, float g) {
  float gate = gelu_gate(x), slope = madd(x * x, (float)(3.0 * GELU_CUBIC), (float)GELU_LINEAR);
  return g * madd(x * (gate * (1.0f - gate)), slope, gate);
}

DEVICE float silu_of(float x) { return x * sigmoid_of(x); }

// g times the derivative of SiLU at x.
DEVICE float silu_backward(float x, float g) {
  float gate = sigmoid_of(x);
  return g * madd(x * gate, 1.0f - gate, gate);
}

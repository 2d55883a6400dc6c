// Runs a block's threads on a CPU, as fibers that meet at barriers: enough of CUDA for the kernels' text to compute real numbers.
#pragma once
#include <ucontext.h>

#include <cmath>
#include <cstddef>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <utility>
#include <vector>

#define MEGATRON_HOST 1
#define __device__
#define __global__
#define __forceinline__ inline
#define __shared__ static
#define __launch_bounds__(...)

struct Dim {
  unsigned x, y, z;
};
Dim threadIdx, blockIdx, blockDim, gridDim;

namespace host {

enum class State { ready, at_warp, at_block, done };

struct Fiber {
  ucontext_t context;
  std::unique_ptr<char[]> stack;
  State state;
  // Which of the two sets of slots its next exchange uses, so that one barrier is enough.
  unsigned turn;
};

const size_t stack_bytes = 256 * 1024;
std::vector<Fiber> fibers;
ucontext_t scheduler;
unsigned current;
unsigned char* dynamic_shared;
// What the lanes of each warp hand each other.
unsigned slots[2][32][32][8];
void (*body)(void*);
void* body_argument;

[[noreturn]] inline void refuse(const char* sentence) {
  std::fprintf(stderr, "block %u, thread %u: %s\n", blockIdx.x, current, sentence);
  std::abort();
}

__attribute__((noinline)) inline void wait(State state) {
  fibers[current].state = state;
  swapcontext(&fibers[current].context, &scheduler);
}

inline void enter() {
  body(body_argument);
  fibers[current].state = State::done;
}

inline void resume(unsigned index) {
  current = index;
  threadIdx.x = index;
  swapcontext(&scheduler, &fibers[index].context);
}

// Runs the lanes of a warp as far as they get; whether they all met and can go on.
inline bool run_warp(unsigned first, bool is_forward) {
  unsigned waiting = 0, done = 0;
  for (unsigned number = 0; number < 32; number++) {
    unsigned i = first + (is_forward ? number : 31 - number);
    if (fibers[i].state == State::ready) resume(i);
    waiting += fibers[i].state == State::at_warp;
    done += fibers[i].state == State::done;
  }
  if (waiting > 0 && done > 0) refuse("a lane has left its warp, whose others wait for it");
  if (waiting < 32) return false;
  for (unsigned i = first; i < first + 32; i++) fibers[i].state = State::ready;
  return true;
}

// Lets the block go on when all its threads have arrived; whether there are any left.
inline bool release(unsigned threads) {
  unsigned waiting = 0, done = 0;
  for (unsigned i = 0; i < threads; i++) {
    waiting += fibers[i].state == State::at_block;
    done += fibers[i].state == State::done;
  }
  if (waiting + done < threads) refuse("the threads wait at different barriers");
  for (unsigned i = 0; i < threads; i++)
    if (fibers[i].state == State::at_block) fibers[i].state = State::ready;
  return waiting > 0;
}

inline void run_block(unsigned threads) {
  if (fibers.size() < threads) fibers.resize(threads);
  for (unsigned i = 0; i < threads; i++) {
    Fiber& fiber = fibers[i];
    if (!fiber.stack) fiber.stack.reset(new char[stack_bytes]);
    getcontext(&fiber.context);
    fiber.context.uc_stack.ss_sp = fiber.stack.get();
    fiber.context.uc_stack.ss_size = stack_bytes;
    fiber.context.uc_link = &scheduler;
    fiber.state = State::ready;
    fiber.turn = 0;
    makecontext(&fiber.context, enter, 0);
  }
  // Between barriers the order of the threads must not matter: one warp after the other gets as far as it can, from the last on after
  // every other barrier and in every other block.
  bool is_forward = blockIdx.x % 2 == 0;
  do {
    for (unsigned number = 0; number < threads; number += 32)
      while (run_warp(is_forward ? number : threads - 32 - number, is_forward)) continue;
    is_forward = !is_forward;
  } while (release(threads));
}

template <class... Parameters>
struct Call {
  void (*kernel)(Parameters...);
  void** arguments;

  template <size_t... index>
  void with(std::index_sequence<index...>) {
    kernel(*(Parameters*)arguments[index]...);
  }

  static void run(void* self) { ((Call*)self)->with(std::index_sequence_for<Parameters...>{}); }
};

template <class... Parameters>
void launch(void (*kernel)(Parameters...), unsigned grid, unsigned threads, unsigned shared_bytes, void** arguments) {
  Call<Parameters...> call{kernel, arguments};
  std::vector<unsigned char> shared(shared_bytes + 16);
  dynamic_shared = (unsigned char*)(((size_t)shared.data() + 15) / 16 * 16);
  body = Call<Parameters...>::run;
  body_argument = &call;
  gridDim = {grid, 1, 1};
  blockDim = {threads, 1, 1};
  for (unsigned block = 0; block < grid; block++) {
    blockIdx = {block, 0, 0};
    // What the last block left must not help this one.
    std::memset(dynamic_shared, 0xff, shared_bytes);
    run_block(threads);
  }
}

// Hands the lanes of a warp what each of them brings; slot[lane] is what that lane brought.
inline unsigned (*exchange(const unsigned* words, unsigned count))[8] {
  Fiber& fiber = fibers[current];
  unsigned warp = current / 32, turn = fiber.turn;
  std::memcpy(slots[turn][warp][current % 32], words, 4 * count);
  fiber.turn ^= 1;
  wait(State::at_warp);
  return slots[turn][warp];
}

template <class Value>
Value from_lane(Value value, unsigned lane) {
  unsigned words[2] = {0, 0};
  std::memcpy(words, &value, sizeof(Value));
  std::memcpy(&value, exchange(words, 2)[lane], sizeof(Value));
  return value;
}

}  // namespace host

inline void __syncthreads() { host::wait(host::State::at_block); }
inline void __syncwarp() { host::wait(host::State::at_warp); }

template <class Value>
Value __shfl_xor_sync(unsigned, Value value, unsigned mask) {
  return host::from_lane(value, threadIdx.x % 32 ^ mask);
}

template <class Value>
Value __shfl_sync(unsigned, Value value, unsigned lane) {
  return host::from_lane(value, lane % 32);
}

inline unsigned __ballot_sync(unsigned, bool holds) {
  unsigned word = holds, lanes = 0;
  unsigned(*all)[8] = host::exchange(&word, 1);
  for (unsigned lane = 0; lane < 32; lane++) lanes |= all[lane][0] << lane;
  return lanes;
}

inline int __syncthreads_or(int holds) {
  static int some;
  __syncthreads();
  some = 0;
  __syncthreads();
  some |= holds != 0;
  __syncthreads();
  return some;
}

inline int __ffs(unsigned word) { return __builtin_ffs((int)word); }
inline int __popc(unsigned word) { return __builtin_popcount(word); }

template <class Value>
Value atomicAdd(Value* at, Value value) {
  Value before = *at;
  *at += value;
  return before;
}

template <class Value>
Value atomicMin(Value* at, Value value) {
  Value before = *at;
  if (value < before) *at = value;
  return before;
}

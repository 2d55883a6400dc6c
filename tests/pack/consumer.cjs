const { tensor } = require('@megatron-ts/core');
const { oneForwardOneBackward } = require('@megatron-ts/core/schedule');
const { expectBitwise } = require('@megatron-ts/core/testing');

const x = tensor(Float32Array.of(1, 2), [2]);
expectBitwise(x.add(x), [2, 4]);
const schedule = oneForwardOneBackward({ numStages: 2, numMicrobatches: 4 });
console.log('schedule', typeof schedule);

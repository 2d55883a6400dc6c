'use strict';
// The one door to the addon. binding.js is generated: it picks the file or the package for this platform.
const { existsSync } = require('node:fs');
const { join } = require('node:path');

try {
  module.exports = require('./binding.js');
} catch (cause) {
  const platform = `${process.platform}-${process.arch}`;
  const inClone = existsSync(join(__dirname, '..', '..', 'crates'));
  const remedy = inClone ? 'Run npm run setup.' : 'Install @megatron-ts/core again, without --omit=optional.';
  const error = new Error(`@megatron-ts/native: the engine for ${platform} is missing or cannot be loaded. ${remedy}`, { cause });
  throw Object.assign(error, { name: 'EngineError', code: 'ENGINE_MISSING' });
}

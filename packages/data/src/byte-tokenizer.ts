import { ConfigError } from '@megatron-ts/errors';

/** Text as its UTF-8 bytes: 256 tokens, no training, every text can be written. */
export class ByteTokenizer {
  /** Number of different tokens. */
  readonly vocabularySize = 256;

  /** The bytes of a text. */
  encode(text: string): Uint8Array {
    return new TextEncoder().encode(text);
  }

  /**
   * The text of these bytes. Bytes that are no UTF-8, as a model under training may write, become U+FFFD.
   * @throws ConfigError OUT_OF_RANGE for a token that is not a byte.
   */
  decode(tokens: ArrayLike<number>): string {
    const bytes = Uint8Array.from(tokens);
    const wrong = bytes.findIndex((byte, index) => byte !== tokens[index]);
    if (wrong >= 0) {
      const sentence = `ByteTokenizer.decode: token ${tokens[wrong]} at position ${wrong} is not a byte. Give tokens 0 to 255.`;
      throw new ConfigError('OUT_OF_RANGE', sentence, { fields: { token: tokens[wrong], position: wrong } });
    }
    return new TextDecoder().decode(bytes);
  }
}

/* Encodes an image as PNG without loss: a canvas would change the colours of transparent pixels. */

const SIGNATURE = [137, 80, 78, 71, 13, 10, 26, 10];
const COLOUR_TYPES = { 1: 0, 3: 2, 4: 6 }; // by number of channels: grey, RGB, RGBA

function crc32(bytes) {
  let sum = -1;
  for (const byte of bytes) {
    sum ^= byte;
    for (let bit = 0; bit < 8; bit++) sum = (sum >>> 1) ^ (0xedb88320 & -(sum & 1));
  }
  return ~sum;
}

function chunk(name, content) {
  const bytes = new Uint8Array(content.length + 12), view = new DataView(bytes.buffer);
  view.setUint32(0, content.length);
  bytes.set(new TextEncoder().encode(name), 4);
  bytes.set(content, 8);
  view.setInt32(content.length + 8, crc32(bytes.subarray(4, content.length + 8)));
  return bytes;
}

function header({ width, height, channels }) {
  const view = new DataView(new ArrayBuffer(13));
  view.setUint32(0, width);
  view.setUint32(4, height);
  view.setUint8(8, 8);
  view.setUint8(9, COLOUR_TYPES[channels]);
  return new Uint8Array(view.buffer);
}

async function deflate(bytes) {
  const stream = new Blob([bytes]).stream().pipeThrough(new CompressionStream("deflate"));
  return new Uint8Array(await new Response(stream).arrayBuffer());
}

/** Return an image {height, width, channels, data} as a PNG file in a Blob. */
export async function png(image) {
  const { height, width, channels, data } = image, stride = width * channels;
  const rows = new Uint8Array(height * (stride + 1)); // each row begins with the number of its filter, 0 for none
  for (let row = 0; row < height; row++) {
    rows.set(data.subarray(row * stride, (row + 1) * stride), row * (stride + 1) + 1);
  }
  const chunks = [chunk("IHDR", header(image)), chunk("IDAT", await deflate(rows)), chunk("IEND", [])];
  return new Blob([Uint8Array.from(SIGNATURE), ...chunks], { type: "image/png" });
}

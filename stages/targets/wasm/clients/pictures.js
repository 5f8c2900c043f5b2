// What a stored sample (C, H, W) looks like, and a picture as such a sample. In index.html it stands before page.js.

/** The values that are drawn black and white. */
function span(stored, dtype) {
  if (dtype === "uint8") return [0, 255];
  const values = Array.from(stored, Number);
  return [values.reduce((a, b) => Math.min(a, b), Infinity), values.reduce((a, b) => Math.max(a, b), -Infinity)];
}

/** Show in `canvas` what a stored sample of this shape (C, H, W) looks like, in other height and width if they are given. */
function draw(canvas, [channels, rows, columns], stored, [low, high], height = rows, width = columns) {
  canvas.width = width;
  canvas.height = height;
  const image = new ImageData(width, height);
  for (let pixel = 0; pixel < height * width; pixel += 1) {
    const [y, x] = [Math.floor(pixel / width), pixel % width];
    const from = Math.floor((y * rows) / height) * columns + Math.floor((x * columns) / width);
    for (let channel = 0; channel < 3; channel += 1) {
      const value = Number(stored[(channels === 1 ? 0 : channel) * rows * columns + from]);
      image.data[4 * pixel + channel] = (255 * (value - low)) / (high - low || 1);
    }
    image.data[4 * pixel + 3] = 255;
  }
  canvas.getContext("2d").putImageData(image, 0, 0);
}

/** An image file -> a stored sample (C, H, W), resized, on white where it is transparent. */
async function pixelsOf(file, [channels, height, width]) {
  let bitmap = await createImageBitmap(file);
  // by halves, since browsers sample too few pixels in one large step
  while (bitmap.width >= 2 * width && bitmap.height >= 2 * height) {
    const half = new OffscreenCanvas(Math.ceil(bitmap.width / 2), Math.ceil(bitmap.height / 2));
    half.getContext("2d").drawImage(bitmap, 0, 0, half.width, half.height);
    bitmap = half;
  }
  const context = new OffscreenCanvas(width, height).getContext("2d");
  context.fillStyle = "#fff";
  context.fillRect(0, 0, width, height);
  context.imageSmoothingQuality = "high";
  context.drawImage(bitmap, 0, 0, width, height);
  const { data } = context.getImageData(0, 0, width, height);
  const plane = height * width;
  return Uint8Array.from({ length: channels * plane }, (_, index) => {
    const at = 4 * (index % plane);
    if (channels === 3) return data[at + Math.floor(index / plane)];
    return Math.round(0.299 * data[at] + 0.587 * data[at + 1] + 0.114 * data[at + 2]); // ITU-R 601 luma
  });
}

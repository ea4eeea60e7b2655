// Draws a picture with what was found on it.

const FONT = 13; // of names, in pixels of the screen

/**
 * @param {HTMLCanvasElement} canvas - becomes as large as the picture
 * @param {ImageBitmap} bitmap
 * @param {Array} detections - {box: corners in pixels of the picture, score, label}, the best first
 * @param {object} network - class_names and colours
 */
export function drawDetections(canvas, bitmap, detections, network) {
  if (canvas.width !== bitmap.width || canvas.height !== bitmap.height) {
    canvas.width = bitmap.width;
    canvas.height = bitmap.height;
  }
  const context = canvas.getContext("2d");
  context.drawImage(bitmap, 0, 0);
  const scale = canvas.width / (canvas.clientWidth || canvas.width); // pixels of the picture in one of the screen
  context.lineWidth = 2 * scale;
  context.font = `600 ${FONT * scale}px system-ui, sans-serif`;
  context.textBaseline = "middle";
  for (const { box, score, label } of [...detections].reverse()) {
    const [left, top, right, bottom] = box;
    const colour = network.colours[label % network.colours.length];
    context.strokeStyle = context.fillStyle = colour;
    context.strokeRect(left, top, right - left, bottom - top);
    const text = `${network.class_names[label]} ${score.toFixed(2)}`;
    const width = context.measureText(text).width + 10 * scale;
    const height = (FONT + 7) * scale;
    const x = Math.max(0, Math.min(left - scale, canvas.width - width));
    const y = top >= height ? top - height : Math.min(top, canvas.height - height);
    context.fillRect(x, y, width, height);
    context.fillStyle = isLight(colour) ? "#000" : "#fff";
    context.fillText(text, x + 5 * scale, y + height / 2);
  }
}

function isLight(colour) {
  const [red, green, blue] = [1, 3, 5].map((at) => parseInt(colour.slice(at, at + 2), 16));
  return 0.299 * red + 0.587 * green + 0.114 * blue > 140;
}

// What the example's parts share. Pictures are 8-bit RGB, rows from the top; boxes are corners in pixels.
#pragma once

#include <cstdint>
#include <vector>

struct Image {
  int width = 0, height = 0;
  std::vector<std::uint8_t> rgb;  // height x width x 3
};

// Where a picture lies on the canvas of the network: canvas = picture * scale + (left, top), a scale for each side since both
// are whole pixels.
struct Letterbox {
  float scale_x = 1, scale_y = 1;
  int left = 0, top = 0;
};

struct Detection {
  float x1, y1, x2, y2, score;
  int label;
};

// Fit a picture into a canvas, padded with grey 114, as planes of 0..1: 3 x height x width. letterbox.cpp
// area: shrink to the mean of all pixels, not between neighbours, as the network's metadata says ("resize").
std::vector<float> to_canvas(const Image& picture, int width, int height, bool area, Letterbox& where);

// From all anchors to detections in pixels of the picture: threshold, suppression within each class. select.cpp
// boxes: anchors x 4 corners on the canvas; scores: anchors x classes, 0..1.
std::vector<Detection> select(const float* boxes, const float* scores, std::size_t anchors, std::size_t classes,
                              const Letterbox& where, const Image& picture, float confidence, float iou, bool nms);

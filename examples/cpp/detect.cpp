// A detector of ghostyolo in a C++ program, on ONNX Runtime and nothing else.
//
//   ghostyolo export --weights bccd --static --out bccd.onnx
//   detect bccd.onnx photo.ppm
//
// prints a line for each object: class index, score, x1 y1 x2 y2 in pixels of the picture. Pictures are binary PPM
// (convert photo.jpg photo.ppm), so that the example needs no image library; use the one that your program has.
#include <onnxruntime_cxx_api.h>

#include <array>
#include <cstdio>
#include <fstream>
#include <stdexcept>
#include <string>

#include "detection.hpp"

namespace {

Image read_ppm(const char* path) {
  std::ifstream file(path, std::ios::binary);
  std::string magic;
  Image picture;
  int most = 0;
  if (!(file >> magic >> picture.width >> picture.height >> most) || magic != "P6" || most != 255 ||
      picture.width < 1 || picture.height < 1)
    throw std::runtime_error(std::string(path) + " is not an 8-bit binary PPM picture");
  file.get();
  picture.rgb.resize(3u * picture.width * picture.height);
  if (!file.read(reinterpret_cast<char*>(picture.rgb.data()), static_cast<std::streamsize>(picture.rgb.size())))
    throw std::runtime_error(std::string(path) + " is cut short");
  return picture;
}

bool metadata_has(const Ort::Session& session, const char* entry) {
  Ort::AllocatorWithDefaultOptions allocator;
  const auto metadata = session.GetModelMetadata().LookupCustomMetadataMapAllocated("ghostyolo", allocator);
  return metadata && std::string(metadata.get()).find(entry) != std::string::npos;
}

int run(const char* weights, const char* path) {
  const Ort::Env environment(ORT_LOGGING_LEVEL_ERROR, "detect");
  Ort::Session session(environment, weights, Ort::SessionOptions{});
  const auto input_shape = session.GetInputTypeInfo(0).GetTensorTypeAndShapeInfo().GetShape();  // B, C, H, W
  if (input_shape.size() != 4 || input_shape[1] != 3 || input_shape[2] < 1 || input_shape[3] < 1)
    throw std::runtime_error(std::string(weights) + " has no fixed size: export it with --static");
  const int height = static_cast<int>(input_shape[2]), width = static_cast<int>(input_shape[3]);

  const Image picture = read_ppm(path);
  Letterbox where;
  std::vector<float> canvas = to_canvas(picture, width, height, metadata_has(session, "\"resize\":\"area\""), where);

  const std::array<std::int64_t, 4> shape{1, 3, height, width};
  const auto memory = Ort::MemoryInfo::CreateCpu(OrtArenaAllocator, OrtMemTypeDefault);
  const Ort::Value images =
      Ort::Value::CreateTensor<float>(memory, canvas.data(), canvas.size(), shape.data(), shape.size());
  const std::array<const char*, 1> inputs{"images"};
  const std::array<const char*, 2> outputs{"boxes", "scores"};
  const auto results = session.Run(Ort::RunOptions{}, inputs.data(), &images, 1, outputs.data(), outputs.size());
  const auto scores_shape = results[1].GetTensorTypeAndShapeInfo().GetShape();  // 1, anchors, classes

  const bool nms = !metadata_has(session, "\"nms\":false");  // else the head finds each object once
  const auto found = select(results[0].GetTensorData<float>(), results[1].GetTensorData<float>(),
                            static_cast<std::size_t>(scores_shape[1]), static_cast<std::size_t>(scores_shape[2]), where,
                            picture, 0.25f, 0.7f, nms);
  for (const Detection& one : found)
    std::printf("%d %.5f %.2f %.2f %.2f %.2f\n", one.label, one.score, one.x1, one.y1, one.x2, one.y2);
  return 0;
}

}  // namespace

int main(int count, char** arguments) {
  if (count != 3) {
    std::fprintf(stderr, "usage: %s MODEL.onnx PICTURE.ppm\n", arguments[0]);
    return 2;
  }
  try {
    return run(arguments[1], arguments[2]);
  } catch (const std::exception& error) {
    std::fprintf(stderr, "error: %s\n", error.what());
    return 2;
  }
}

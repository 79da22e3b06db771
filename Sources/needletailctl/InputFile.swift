// Reading files and standard input, whole or line by line, as bytes.

import Glibc
import NeedletailRPC

/// Lines of a descriptor. Owns its buffer, and the descriptor too if it opened it.
final class InputFile {
  /// No honest line is longer: the largest request in base64, and room for its JSON.
  static let longestLine = 64 << 20

  let name: String
  /// Bytes of the whole file, or nil where that isn't known (a pipe).
  let size: Int64?
  /// Bytes read from it so far.
  private(set) var position: Int64 = 0

  private let descriptor: Int32
  private var buffer = OutBuffer()
  private var consumed = 0
  private var isAtEnd = false

  /// `-` is standard input.
  init(_ path: [UInt8]) throws(Failure) {
    name = path == [UInt8(ascii: "-")] ? "standard input" : String(decoding: path, as: UTF8.self)
    let opened = (path + [0]).withUnsafeBytes { bytes in
      path == [UInt8(ascii: "-")]
        ? STDIN_FILENO
        : open(bytes.baseAddress.unsafelyUnwrapped.assumingMemoryBound(to: CChar.self), O_RDONLY | O_CLOEXEC)
    }
    guard opened >= 0 else { throw .message("can't open \(name): \(String(cString: strerror(errno)))") }
    descriptor = opened
    var information = stat()
    let isRegular = fstat(opened, &information) == 0 && information.st_mode & S_IFMT == S_IFREG
    size = isRegular ? Int64(information.st_size) : nil
  }

  deinit {
    buffer.free()
    if descriptor != STDIN_FILENO { close(descriptor) }
  }

  /// The next line without its newline, valid until the next call; nil at the end. The last line needs no newline.
  func nextLine() throws(Failure) -> UnsafeRawBufferPointer? {
    var searched = 0
    while true {
      let rest = UnsafeRawBufferPointer(rebasing: buffer.bytes.dropFirst(consumed))
      if let start = rest.baseAddress, rest.count > searched,
        let newline = memchr(start + searched, Int32(UInt8(ascii: "\n")), rest.count - searched)
      {
        let length = UnsafeRawPointer(newline) - start
        consumed += length + 1
        return UnsafeRawBufferPointer(start: start, count: length)
      }
      if isAtEnd {
        consumed = buffer.count
        return rest.isEmpty ? nil : rest
      }
      guard rest.count <= InputFile.longestLine else {
        throw .message("\(name): a line is longer than \(InputFile.longestLine) bytes")
      }
      searched = rest.count
      try fill()
    }
  }

  private func fill() throws(Failure) {
    buffer.removeFirst(consumed)
    consumed = 0
    let room = max(1 << 18, buffer.count)
    let read = try InputFile.read(descriptor, buffer.reserve(room), room, name)
    buffer.advance(read)
    position += Int64(read)
    isAtEnd = read == 0
  }

  private static func read(
    _ descriptor: Int32, _ target: UnsafeMutableRawPointer, _ room: Int, _ name: String
  ) throws(Failure) -> Int {
    while true {
      let count = Glibc.read(descriptor, target, room)
      if count >= 0 { return count }
      if errno != EINTR { throw .message("can't read \(name): \(String(cString: strerror(errno)))") }
    }
  }

  /// Everything that a descriptor has.
  static func readAll(_ descriptor: Int32) throws(Failure) -> [UInt8] {
    var buffer = OutBuffer()
    defer { buffer.free() }
    while true {
      let room = max(1 << 16, buffer.count)
      let count = try read(descriptor, buffer.reserve(room), room, "standard input")
      if count == 0 { return [UInt8](buffer.bytes) }
      buffer.advance(count)
    }
  }
}

// The configuration file: etcd's YAML, read with libyaml. A mapping of flag names to values; certificates lie in mappings of
// their own.
//
// libyaml and not Yams, which wraps the same parser: Yams brings Foundation into the process, which starts more than twice
// as long with it and takes 9 MiB more, file or not.
import CYAML
import Glibc

struct ConfigFile: Equatable {
  /// Flag names and values, in the file's order.
  private(set) var settings: [Setting] = []

  struct Setting: Equatable {
    let name: String
    let value: String
  }

  static let bytesMax = 1 << 20

  init(path: String) throws(FlagError) {
    let bytes: [UInt8]
    do { bytes = try ConfigFile.read(path) } catch {
      throw FlagError(description: "error verifying flags, open \(path): \(error.description). See 'etcd --help'.")
    }
    do { try self.init(bytes) } catch {
      throw FlagError(description: "error verifying flags, \(path): \(error.description). See 'etcd --help'.")
    }
  }

  init(_ text: [UInt8]) throws(FlagError) {
    guard let root = try YAMLNode.parse(text) else { return }
    guard case .mapping(let pairs) = root else {
      throw FlagError(description: "the file is no mapping of names to values")
    }
    for pair in pairs {
      switch (pair.name, pair.node) {
      case ("client-transport-security", .mapping(let security)):
        for pair in security { try add(pair.name, pair.node) }
      case ("peer-transport-security", .mapping(let security)):
        for pair in security { try add("peer-" + pair.name, pair.node) }
      default: try add(pair.name, pair.node)
      }
    }
  }

  /// A list stands for its parts with commas between.
  private mutating func add(_ name: String, _ node: YAMLNode) throws(FlagError) {
    switch node {
    case .scalar(nil): break
    case .scalar(let text?): settings.append(Setting(name: name, value: text))
    case .sequence(let parts):
      var texts: [String] = []
      for part in parts {
        guard case .scalar(let text) = part else { throw FlagError(description: "\(name) is no list of plain values") }
        texts.append(text ?? "")
      }
      settings.append(Setting(name: name, value: texts.joined(separator: ",")))
    case .mapping: throw FlagError(description: "\(name) is a mapping, not a value")
    }
  }

  private static func read(_ path: String) throws(FlagError) -> [UInt8] {
    let descriptor = open(path, O_RDONLY | O_CLOEXEC)
    guard descriptor >= 0 else { throw FlagError(description: String(cString: strerror(errno))) }
    defer { close(descriptor) }
    var bytes: [UInt8] = []
    var part = [UInt8](repeating: 0, count: 1 << 16)
    while true {
      let count = Glibc.read(descriptor, &part, part.count)
      if count < 0, errno == EINTR { continue }
      guard count >= 0 else { throw FlagError(description: String(cString: strerror(errno))) }
      if count == 0 { return bytes }
      bytes += part[..<count]
      guard bytes.count <= bytesMax else { throw FlagError(description: "the file is larger than 1 MiB") }
    }
  }
}

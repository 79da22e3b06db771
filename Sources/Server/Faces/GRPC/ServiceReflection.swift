// What gRPC's reflection service tells of the services here: descriptors of proto/*.proto, by file and by what they name.
import NeedletailBytes
import NeedletailRPC

package struct ServiceReflection: Sendable {
  private struct File {
    /// A FileDescriptorProto.
    var bytes: [UInt8] = []
    var imports: [String] = []
  }

  /// Fields of descriptors that hold something with a name.
  private enum Kind {
    case file
    case message
    case enumeration
    case service
    /// A message's field, a method or the like: nothing is named within it.
    case leaf

    func within(_ field: Int) -> Kind? {
      switch (self, field) {
      case (.file, 4), (.message, 3): .message
      case (.file, 5), (.message, 4): .enumeration
      case (.file, 6): .service
      case (.message, 2), (.message, 8), (.enumeration, 2), (.service, 2): .leaf
      default: nil
      }
    }
  }

  private var files: [String: File] = [:]
  /// Full names, and the files that have them.
  private var symbols: [String: String] = [:]
  private var messages: Set<String> = []
  package private(set) var services: [String] = []

  /// Of this server. Unpacked when it is first asked for.
  package static let own: ServiceReflection = {
    var packed = OutBuffer()
    var set = OutBuffer()
    defer {
      packed.free()
      set.free()
    }
    let text = UnsafeRawBufferPointer(start: packedDescriptors.utf8Start, count: packedDescriptors.utf8CodeUnitCount)
    do {
      try Base64.decode(text, into: &packed)
      try Gunzip.unpack(packed.bytes, limit: 1 << 20, into: &set)
      return try ServiceReflection(set.bytes)
    } catch {
      // It is the program's own, and tests read all of it.
      return ServiceReflection()
    }
  }()

  private init() {}

  /// Of a FileDescriptorSet.
  package init(_ set: UnsafeRawBufferPointer) throws(ProtoError) {
    try ServiceReflection.forEachField(set) { (tag, reader) throws(ProtoError) in
      if tag.field == 1 { try add(file: try reader.bytes(tag)) } else { try reader.skip(tag) }
    }
    services.sort()
  }

  private mutating func add(file bytes: UnsafeRawBufferPointer) throws(ProtoError) {
    var file = File(bytes: Array(bytes))
    var package = ""
    try ServiceReflection.forEachField(bytes) { (tag, reader) throws(ProtoError) in
      switch tag.field {
      case 2: package = try reader.string(tag)
      case 3: file.imports.append(try reader.string(tag))
      default: try reader.skip(tag)
      }
    }
    let name = try ServiceReflection.name(bytes)
    files[name] = file
    try addSymbols(in: bytes, .file, scope: package, file: name)
  }

  private mutating func addSymbols(
    in bytes: UnsafeRawBufferPointer, _ kind: Kind, scope: String, file: String
  ) throws(ProtoError) {
    try ServiceReflection.forEachField(bytes) { (tag, reader) throws(ProtoError) in
      guard let inner = kind.within(tag.field) else { return try reader.skip(tag) }
      let bytes = try reader.bytes(tag)
      let name = scope + (scope.isEmpty ? "" : ".") + (try ServiceReflection.name(bytes))
      symbols[name] = file
      if case .message = inner { messages.insert(name) }
      if case .service = inner { services.append(name) }
      // An enumeration's values are named like the enumeration itself, and not within it.
      let isEnumeration = if case .enumeration = inner { true } else { false }
      try addSymbols(in: bytes, inner, scope: isEnumeration ? scope : name, file: file)
    }
  }

  /// Field 1 of every descriptor.
  private static func name(_ descriptor: UnsafeRawBufferPointer) throws(ProtoError) -> String {
    var name = ""
    try forEachField(descriptor) { (tag, reader) throws(ProtoError) in
      if tag.field == 1 { name = try reader.string(tag) } else { try reader.skip(tag) }
    }
    return name
  }

  private static func forEachField(
    _ bytes: UnsafeRawBufferPointer, _ body: (ProtoTag, inout ProtoReader) throws(ProtoError) -> Void
  ) throws(ProtoError) {
    var reader = ProtoReader(bytes)
    while let tag = try reader.nextTag() { try body(tag, &reader) }
  }

  // MARK: - Answers

  /// Nil for a request that asks for nothing known. What is not there is an answer, too.
  package func answer(_ request: UnsafeRawBufferPointer) throws(ProtoError) -> ReflectionAnswer? {
    var host = ""
    var content: ReflectionAnswer.Content?
    try ServiceReflection.forEachField(request) { (tag, reader) throws(ProtoError) in
      switch tag.field {
      case 1: host = try reader.string(tag)
      case 3:
        let name = try reader.string(tag)
        content = described(by: files[name] == nil ? nil : name, "there is no file \(name)")
      case 4:
        let name = try reader.string(tag)
        content = described(by: symbols[name], "there is no symbol \(name)")
      case 5:
        _ = try reader.bytes(tag)
        content = .missing("there are no extensions")
      case 6:
        let name = try reader.string(tag)
        content = messages.contains(name) ? .extensions(of: name) : .missing("there is no message \(name)")
      case 7:
        _ = try reader.string(tag)
        content = .services(services)
      default: try reader.skip(tag)
      }
    }
    return content.map { ReflectionAnswer(host: host, request: request, content: $0) }
  }

  private func described(by name: String?, _ missing: String) -> ReflectionAnswer.Content {
    guard let name else { return .missing(missing) }
    var sent: Set<String> = []
    var waiting = [name]
    var descriptors: [[UInt8]] = []
    while let next = waiting.popLast() {
      guard sent.insert(next).inserted, let file = files[next] else { continue }
      descriptors.append(file.bytes)
      waiting += file.imports
    }
    return .files(descriptors)
  }
}

/// A ServerReflectionResponse. It borrows its request.
package struct ReflectionAnswer: ProtoEncodable {
  enum Content {
    /// What was asked for first.
    case files([[UInt8]])
    case extensions(of: String)
    case services([String])
    case missing(String)
  }

  let host: String
  let request: UnsafeRawBufferPointer
  let content: Content

  private static func size(_ text: String) -> Int { ProtoWriter.size(bytes: text.utf8.count) }

  private var contentSize: Int {
    switch content {
    case .files(let files): files.reduce(0) { $0 + ProtoWriter.size(bytes: $1.count) }
    case .extensions(let name): Self.size(name)
    case .services(let names): names.reduce(0) { $0 + ProtoWriter.size(delimited: Self.size($1)) }
    case .missing(let text): 2 + Self.size(text)
    }
  }

  package var encodedSize: Int {
    Self.size(host) + ProtoWriter.size(delimited: request.count) + ProtoWriter.size(delimited: contentSize)
  }

  package func encode(to writer: inout ProtoWriter) {
    writer.field(1, host)
    writer.open(2, count: request.count)
    writer.raw(request)
    let number =
      switch content {
      case .files: 4
      case .extensions: 5
      case .services: 6
      case .missing: 7
      }
    writer.open(number, count: contentSize)
    switch content {
    case .files(let files): for file in files { writer.field(1, file) }
    case .extensions(let name): writer.field(1, name)
    case .services(let names):
      for name in names {
        writer.open(1, count: Self.size(name))
        writer.field(1, name)
      }
    case .missing(let text):
      writer.field(1, UInt64(StatusCode.notFound.rawValue))
      writer.field(2, text)
    }
  }
}

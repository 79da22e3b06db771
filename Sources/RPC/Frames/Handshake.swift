// How a connection starts: the client's 8-byte preface, then the server's Hello frame.

/// The client's first bytes: "NEEDLE", a zero byte, the protocol's version. The first seven tell this protocol from the
/// others on the same port (no HTTP method begins like it).
package enum Preface {
  @inlinable package static var byteCount: Int { 8 }
  /// Bytes that tell the protocol; the version follows.
  @inlinable package static var magicByteCount: Int { 7 }
  /// The version that this build speaks.
  @inlinable package static var version: UInt8 { 1 }
  /// "NEEDLE\0" read as a little-endian integer, with a zero in the version's place.
  @inlinable package static var magic: UInt64 { 0x00_00_45_4C_44_45_45_4E }

  package static func append(to out: inout OutBuffer, version: UInt8 = Preface.version) {
    let target = out.reserve(byteCount)
    target.storeBytes(of: (magic | UInt64(version) << 56).littleEndian, as: UInt64.self)
    out.advance(byteCount)
  }

  package enum Match: Equatable, Sendable {
    /// All 8 bytes are there; the client speaks this version.
    case matched(version: UInt8)
    /// A start of the preface; more bytes are needed.
    case incomplete
    /// Another protocol.
    case mismatched
  }

  /// Whether a connection's first bytes are the preface. No bytes at all are `incomplete`.
  package static func match(_ bytes: UnsafeRawBufferPointer) -> Match {
    var expected = magic.littleEndian
    let same = withUnsafeBytes(of: &expected) { expected in
      zip(bytes.prefix(magicByteCount), expected).allSatisfy(==)
    }
    guard same else { return .mismatched }
    guard bytes.count >= byteCount else { return .incomplete }
    return .matched(version: bytes[byteCount - 1])
  }
}

/// What the server can do beyond the base protocol, as bits. Unknown bits are ignored.
package struct ProtocolFeatures: OptionSet, Sendable {
  package let rawValue: UInt64
  package init(rawValue: UInt64) { self.rawValue = rawValue }
}

/// The server's first frame (method 0, stream 0). A client needs not wait for it before it sends requests.
package struct Hello: Equatable, Sendable {
  /// The protocol's version that the server speaks on this connection.
  package var version: UInt32 = UInt32(Preface.version)
  package var features = ProtocolFeatures()
  /// Largest request body the server takes, in bytes.
  package var maxBodyBytes: UInt64 = UInt64(FrameLimits.requestBodyBytes)
  /// Most requests in flight on one connection.
  package var maxStreams: UInt32 = FrameLimits.streams
  /// The program's version, for people.
  package var serverVersion = ""

  package init() {}

  package init(_ body: UnsafeRawBufferPointer) throws(ProtoError) {
    version = 0
    maxBodyBytes = 0
    maxStreams = 0
    var reader = ProtoReader(body)
    while let tag = try reader.nextTag() {
      switch tag.field {
      case 1: version = try reader.uint32(tag)
      case 2: features = ProtocolFeatures(rawValue: try reader.uint64(tag))
      case 3: maxBodyBytes = try reader.uint64(tag)
      case 4: maxStreams = try reader.uint32(tag)
      case 5: serverVersion = try reader.string(tag)
      default: try reader.skip(tag)
      }
    }
  }
}

extension Hello: ProtoEncodable {
  package var encodedSize: Int {
    ProtoWriter.size(field: UInt64(version)) + ProtoWriter.size(field: features.rawValue)
      + ProtoWriter.size(field: maxBodyBytes) + ProtoWriter.size(field: UInt64(maxStreams))
      + ProtoWriter.size(bytes: serverVersion.utf8.count)
  }

  package func encode(to writer: inout ProtoWriter) {
    writer.field(1, UInt64(version))
    writer.field(2, features.rawValue)
    writer.field(3, maxBodyBytes)
    writer.field(4, UInt64(maxStreams))
    writer.field(5, serverVersion)
  }

  /// Appends the whole Hello frame.
  package func appendFrame(to out: inout OutBuffer) {
    let at = out.openFrame()
    encode(to: &out)
    out.closeFrame(at: at, rawMethod: Method.hello.rawValue, flags: FrameFlags.answer, stream: 0, status: 0)
  }
}

/// Limits of the protocol by default.
package enum FrameLimits {
  /// etcd's 1.5 MiB for a request, and half a MiB for what goes around it.
  @inlinable package static var requestBodyBytes: Int { 2 << 20 }
  /// What a client is ready to take: as etcd's clients.
  @inlinable package static var answerBodyBytes: Int { Int(Int32.max) }
  /// Requests in flight on one connection. A server stops reading beyond it instead of failing.
  @inlinable package static var streams: UInt32 { 1024 }
}

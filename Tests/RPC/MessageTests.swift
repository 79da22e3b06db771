// Messages against golden bytes. The bytes were made by another implementation: those named "etcd" by etcd 3.4.23
// itself (`etcdctl -w protobuf`), the others by Google's protobuf for Python from the files in proto/.

import NeedletailRPC
import Testing

private let header = ResponseHeader(clusterID: .max, memberID: 1, revision: 5, raftTerm: 2)
private let first = KeyValue(
  key: [0x61], value: [0x78], createRevision: 2, modRevision: 3, version: 2, lease: 9)
private let second = KeyValue(key: [0x62])

@Suite struct MessageTests {
  @Test func rangeRequestWithEveryField() throws {
    let golden = hex(
      "0a036100ff12016218ac0220ffffffffffffffffff0128023004380140014801500158800160808080808020"
        + "68ffffffffffffffff7f")
    try withExactBytes(golden) { bytes in
      let view = try RangeRequestView(bytes)
      #expect(view.key.array == [0x61, 0, 0xFF])
      #expect(view.rangeEnd.array == [0x62])
      #expect(view.limit == 300)
      #expect(view.revision == -1)
      #expect(view.sortOrder == .descend)
      #expect(view.sortTarget == .value)
      #expect(view.serializable && view.keysOnly && view.countOnly)
      #expect(view.minModRevision == 1)
      #expect(view.maxModRevision == 128)
      #expect(view.minCreateRevision == 1 << 40)
      #expect(view.maxCreateRevision == .max)
      #expect(view.encoded() == golden)
    }
  }

  @Test func rangeRequestForOneKey() throws {
    try withExactBytes(hex("0a03666f6f")) { bytes in
      let view = try RangeRequestView(bytes)
      #expect(view.key.array == Array("foo".utf8))
      #expect(view.rangeEnd.isEmpty)
      #expect(view.sortOrder == SortOrder.none)
      #expect(view.sortTarget == .key)
      #expect(view.encoded() == bytes.array)
    }
  }

  @Test func putRequest() throws {
    let golden = hex(
      "0a8201" + String(repeating: "6b", count: 130) + "12017618808080808080808080012001" + "28013001")
    try withExactBytes(golden) { bytes in
      let view = try PutRequestView(bytes)
      #expect(view.key.array == [UInt8](repeating: 0x6B, count: 130))
      #expect(view.value.array == [0x76])
      #expect(view.lease == .min)
      #expect(view.prevKV && view.ignoreValue && view.ignoreLease)
      #expect(view.encoded() == golden)
    }
    let empty = try PutRequestView(UnsafeRawBufferPointer(start: nil, count: 0))
    #expect(empty.key.isEmpty && empty.value.isEmpty && empty.encoded().isEmpty)
  }

  @Test func deleteRangeRequest() throws {
    let golden = hex("0a016b1201001801")
    try withExactBytes(golden) { bytes in
      let view = try DeleteRangeRequestView(bytes)
      #expect(view.key.array == [0x6B])
      #expect(view.rangeEnd.array == [0])
      #expect(view.prevKV)
      #expect(view.encoded() == golden)
    }
  }

  @Test func rangeResponse() throws {
    var response = RangeResponse()
    response.header = header
    response.kvs = [first, second]
    response.more = true
    response.count = 300
    let golden = hex(
      "0a1108ffffffffffffffffff01100118052002120e0a01611002180320022a0178300912030a0162180120ac02")
    #expect(response.encoded() == golden)
    #expect(try withExactBytes(golden) { bytes throws(ProtoError) in try RangeResponse(bytes) } == response)
    #expect(RangeResponse().encoded() == hex("0a00"))
  }

  @Test func rangeResponseOfEtcd() throws {
    let golden = hex(
      "0a1808ef9c8d98f6f9a28d481092e7e1d882ffe6b2021805200212100a03666f6f1002180320022a0362617a2001")
    let response = try withExactBytes(golden) { bytes throws(ProtoError) in try RangeResponse(bytes) }
    #expect(
      response.header
        == ResponseHeader(
          clusterID: 5_195_618_842_960_940_655, memberID: 172_715_650_900_849_554, revision: 5, raftTerm: 2))
    #expect(
      response.kvs
        == [
          KeyValue(key: Array("foo".utf8), value: Array("baz".utf8), createRevision: 2, modRevision: 3, version: 2)
        ])
    #expect(response.count == 1 && !response.more)
    #expect(response.encoded() == golden)
  }

  @Test func putResponse() throws {
    var response = PutResponse()
    response.header = header
    response.prevKV = first
    let golden = hex("0a1108ffffffffffffffffff01100118052002120e0a01611002180320022a01783009")
    #expect(response.encoded() == golden)
    #expect(try withExactBytes(golden) { bytes throws(ProtoError) in try PutResponse(bytes) } == response)
  }

  @Test func deleteRangeResponse() throws {
    var response = DeleteRangeResponse()
    response.header = header
    response.deleted = 2
    response.prevKVs = [first, second]
    let golden = hex(
      "0a1108ffffffffffffffffff0110011805200210021a0e0a01611002180320022a017830091a030a0162")
    #expect(response.encoded() == golden)
    #expect(try withExactBytes(golden) { bytes throws(ProtoError) in try DeleteRangeResponse(bytes) } == response)
  }

  @Test func statusResponse() throws {
    var response = StatusResponse()
    response.header = header
    response.version = "0.1.0"
    response.dbSize = 4096
    response.leader = 1
    response.raftIndex = 7
    response.raftTerm = 2
    response.raftAppliedIndex = 6
    response.errors = ["NOSPACE", ""]
    response.dbSizeInUse = 100
    response.isLearner = true
    let golden = hex(
      "0a1108ffffffffffffffffff011001180520021205302e312e30188020200128073002380642074e4f535041434542"
        + "0048645001")
    #expect(response.encoded() == golden)
    #expect(try withExactBytes(golden) { bytes throws(ProtoError) in try StatusResponse(bytes) } == response)
  }

  @Test func hello() throws {
    var hello = Hello()
    hello.maxBodyBytes = 2_097_152
    hello.maxStreams = 1024
    hello.serverVersion = "0.1.0"
    let golden = hex("080118808080012080082a05302e312e30")
    #expect(hello.encoded() == golden)
    #expect(try withExactBytes(golden) { bytes throws(ProtoError) in try Hello(bytes) } == hello)
  }

  /// A field that comes twice: the last counts. Unknown fields of every wire type, groups too, are stepped over.
  @Test func unknownAndRepeatedFields() throws {
    let unknown = "f80101" + "f9010102030405060708" + "fa0103616263" + "fb01f8010bfc01" + "fd0101020304"
    let message = hex(unknown + "0a0161" + unknown + "0a026262" + unknown)
    let key = try withExactBytes(message) { bytes throws(ProtoError) in try RangeRequestView(bytes).key.array }
    #expect(key == [0x62, 0x62])
  }

  @Test func typedErrors() {
    func failure(_ text: String) -> ProtoError? {
      do {
        _ = try withExactBytes(hex(text)) { bytes throws(ProtoError) in try RangeRequestView(bytes).limit }
        return nil
      } catch { return error }
    }
    #expect(failure("0a") == .truncated)
    #expect(failure("0a05616263") == .truncated)
    #expect(failure("0affffffffffffffffff01") == .truncated)  // a length of 2^64 - 1
    #expect(failure("0affffffffffffffff7f") == .truncated)  // a length of Int64.max
    #expect(failure("18ffffffffffffffffff02") == .overlongVarint)  // 65 bits
    #expect(failure("1880808080808080808080" + "01") == .overlongVarint)  // eleven bytes
    #expect(failure("188080808080808080808000") == .overlongVarint)
    #expect(failure("0001") == .invalidFieldNumber)
    #expect(failure("808080801001") == .invalidFieldNumber)  // field 2^29
    #expect(failure("0801") == .mismatchedWireType(field: 1))
    #expect(failure("1a0161") == .mismatchedWireType(field: 3))
    #expect(failure("fe0100") == .invalidWireType)
    #expect(failure("fc01") == .invalidWireType)  // the end of a group that never began
    #expect(failure("fb01") == .truncated)
    #expect(failure("fb0184" + "02") == .invalidWireType)  // closed by another group's end
    #expect(failure(String(repeating: "fb01", count: 100)) == .nestedTooDeeply)
    #expect(failure("f90100") == .truncated)
    #expect(failure("fd0100") == .truncated)
    // Numbers in more bytes than needed are legal.
    #expect(failure("18808000") == nil)
    #expect(failure("18ffffffffffffffffff01") == nil)
  }

  @Test func textMustBeUTF8() {
    #expect(throws: ProtoError.invalidText(field: 2)) {
      try withExactBytes(hex("1202c328")) { bytes throws(ProtoError) in try StatusResponse(bytes) }
    }
  }
}

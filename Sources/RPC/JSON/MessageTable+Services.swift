// The messages of etcd's services, a line each.

extension MessageTable {
  static let text = """
    enum etcdserverpb.RangeRequest_SortOrder: NONE ASCEND DESCEND
    enum etcdserverpb.RangeRequest_SortTarget: KEY VERSION CREATE MOD VALUE
    enum etcdserverpb.Compare_CompareResult: EQUAL GREATER LESS NOT_EQUAL
    enum etcdserverpb.Compare_CompareTarget: VERSION CREATE MOD VALUE LEASE
    enum etcdserverpb.AlarmType: NONE NOSPACE CORRUPT
    enum etcdserverpb.AlarmRequest_AlarmAction: GET ACTIVATE DEACTIVATE
    enum etcdserverpb.WatchCreateRequest_FilterType: NOPUT NODELETE
    enum mvccpb.Event_EventType: PUT DELETE
    KeyValue: bytes key 1, int64 create_revision 2, int64 mod_revision 3, int64 version 4, bytes value 5, int64 lease 6
    Event: Event_EventType type 1, KeyValue kv 2, KeyValue prev_kv 3
    ResponseHeader: uint64 cluster_id 1, uint64 member_id 2, int64 revision 3, uint64 raft_term 4
    RangeRequest: bytes key 1, bytes range_end 2, int64 limit 3, int64 revision 4, RangeRequest_SortOrder sort_order 5, \
    RangeRequest_SortTarget sort_target 6, bool serializable 7, bool keys_only 8, bool count_only 9, \
    int64 min_mod_revision 10, int64 max_mod_revision 11, int64 min_create_revision 12, int64 max_create_revision 13
    RangeResponse: ResponseHeader header 1, repeated KeyValue kvs 2, bool more 3, int64 count 4
    PutRequest: bytes key 1, bytes value 2, int64 lease 3, bool prev_kv 4, bool ignore_value 5, bool ignore_lease 6
    PutResponse: ResponseHeader header 1, KeyValue prev_kv 2
    DeleteRangeRequest: bytes key 1, bytes range_end 2, bool prev_kv 3
    DeleteRangeResponse: ResponseHeader header 1, int64 deleted 2, repeated KeyValue prev_kvs 3
    RequestOp: oneof RangeRequest request_range 1, oneof PutRequest request_put 2, \
    oneof DeleteRangeRequest request_delete_range 3, oneof TxnRequest request_txn 4
    ResponseOp: oneof RangeResponse response_range 1, oneof PutResponse response_put 2, \
    oneof DeleteRangeResponse response_delete_range 3, oneof TxnResponse response_txn 4
    Compare: Compare_CompareResult result 1, Compare_CompareTarget target 2, bytes key 3, oneof int64 version 4, \
    oneof int64 create_revision 5, oneof int64 mod_revision 6, oneof bytes value 7, oneof int64 lease 8, \
    bytes range_end 64
    TxnRequest: repeated Compare compare 1, repeated RequestOp success 2, repeated RequestOp failure 3
    TxnResponse: ResponseHeader header 1, bool succeeded 2, repeated ResponseOp responses 3
    CompactionRequest: int64 revision 1, bool physical 2
    CompactionResponse: ResponseHeader header 1
    WatchRequest: oneof WatchCreateRequest create_request 1, oneof WatchCancelRequest cancel_request 2, \
    oneof WatchProgressRequest progress_request 3
    WatchCreateRequest: bytes key 1, bytes range_end 2, int64 start_revision 3, bool progress_notify 4, \
    repeated WatchCreateRequest_FilterType filters 5, bool prev_kv 6, int64 watch_id 7, bool fragment 8
    WatchCancelRequest: int64 watch_id 1
    WatchProgressRequest:
    WatchResponse: ResponseHeader header 1, int64 watch_id 2, bool created 3, bool canceled 4, int64 compact_revision 5, \
    string cancel_reason 6, bool fragment 7, repeated Event events 11
    LeaseGrantRequest: int64 TTL 1, int64 ID 2
    LeaseGrantResponse: ResponseHeader header 1, int64 ID 2, int64 TTL 3, string error 4
    LeaseRevokeRequest: int64 ID 1
    LeaseRevokeResponse: ResponseHeader header 1
    LeaseKeepAliveRequest: int64 ID 1
    LeaseKeepAliveResponse: ResponseHeader header 1, int64 ID 2, int64 TTL 3
    LeaseTimeToLiveRequest: int64 ID 1, bool keys 2
    LeaseTimeToLiveResponse: ResponseHeader header 1, int64 ID 2, int64 TTL 3, int64 grantedTTL 4, repeated bytes keys 5
    LeaseLeasesRequest:
    LeaseStatus: int64 ID 1
    LeaseLeasesResponse: ResponseHeader header 1, repeated LeaseStatus leases 2
    StatusRequest:
    StatusResponse: ResponseHeader header 1, string version 2, int64 dbSize 3, uint64 leader 4, uint64 raftIndex 5, \
    uint64 raftTerm 6, uint64 raftAppliedIndex 7, repeated string errors 8, int64 dbSizeInUse 9, bool isLearner 10
    AlarmMember: uint64 memberID 1, AlarmType alarm 2
    AlarmRequest: AlarmRequest_AlarmAction action 1, uint64 memberID 2, AlarmType alarm 3
    AlarmResponse: ResponseHeader header 1, repeated AlarmMember alarms 2
    HashRequest:
    HashResponse: ResponseHeader header 1, uint32 hash 2
    HashKVRequest: int64 revision 1
    HashKVResponse: ResponseHeader header 1, uint32 hash 2, int64 compact_revision 3, int64 hash_revision 4
    DefragmentRequest:
    DefragmentResponse: ResponseHeader header 1
    SnapshotRequest:
    SnapshotResponse: ResponseHeader header 1, uint64 remaining_bytes 2, bytes blob 3
    MoveLeaderRequest: uint64 targetID 1
    MoveLeaderResponse: ResponseHeader header 1
    Member: uint64 ID 1, string name 2, repeated string peerURLs 3, repeated string clientURLs 4, bool isLearner 5
    MemberAddRequest: repeated string peerURLs 1, bool isLearner 2
    MemberAddResponse: ResponseHeader header 1, Member member 2, repeated Member members 3
    MemberRemoveRequest: uint64 ID 1
    MemberRemoveResponse: ResponseHeader header 1, repeated Member members 2
    MemberUpdateRequest: uint64 ID 1, repeated string peerURLs 2
    MemberUpdateResponse: ResponseHeader header 1, repeated Member members 2
    MemberListRequest: bool linearizable 1
    MemberListResponse: ResponseHeader header 1, repeated Member members 2
    MemberPromoteRequest: uint64 ID 1
    MemberPromoteResponse: ResponseHeader header 1, repeated Member members 2
    LockRequest: bytes name 1, int64 lease 2
    LockResponse: ResponseHeader header 1, bytes key 2
    UnlockRequest: bytes key 1
    UnlockResponse: ResponseHeader header 1
    LeaderKey: bytes name 1, bytes key 2, int64 rev 3, int64 lease 4
    CampaignRequest: bytes name 1, int64 lease 2, bytes value 3
    CampaignResponse: ResponseHeader header 1, LeaderKey leader 2
    LeaderRequest: bytes name 1
    LeaderResponse: ResponseHeader header 1, KeyValue kv 2
    ProclaimRequest: LeaderKey leader 1, bytes value 2
    ProclaimResponse: ResponseHeader header 1
    ResignRequest: LeaderKey leader 1
    ResignResponse: ResponseHeader header 1

    """
}

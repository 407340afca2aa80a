package store

import (
	"context"
	"errors"
	"strings"
	"time"

	"github.com/dexidp/dex/storage"
)

// The methods below are dex's storage interface, one line for each object.

func (s *Dex) CreateAuthRequest(ctx context.Context, a storage.AuthRequest) error {
	return create(ctx, s, "areq", a.ID, a.Expiry, a)
}

func (s *Dex) CreateClient(ctx context.Context, a storage.Client) error {
	return create(ctx, s, "client", a.ID, time.Time{}, a)
}

func (s *Dex) CreateAuthCode(ctx context.Context, a storage.AuthCode) error {
	return create(ctx, s, "code", a.ID, a.Expiry, a)
}

func (s *Dex) CreateRefresh(ctx context.Context, a storage.RefreshToken) error {
	return create(ctx, s, "refresh", a.ID, time.Time{}, a)
}

func (s *Dex) CreatePassword(ctx context.Context, a storage.Password) error {
	a.Email = strings.ToLower(a.Email)
	return create(ctx, s, "pw", a.Email, time.Time{}, a)
}

func (s *Dex) CreateOfflineSessions(ctx context.Context, a storage.OfflineSessions) error {
	return create(ctx, s, "off", two(a.UserID, a.ConnID), time.Time{}, a)
}

func (s *Dex) CreateUserIdentity(ctx context.Context, a storage.UserIdentity) error {
	return create(ctx, s, "uid", two(a.UserID, a.ConnectorID), time.Time{}, a)
}

func (s *Dex) CreateAuthSession(ctx context.Context, a storage.AuthSession) error {
	return create(ctx, s, "sess", a.ID, sessExp(a), a)
}

func (s *Dex) CreateConnector(ctx context.Context, a storage.Connector) error {
	return create(ctx, s, "conn", a.ID, time.Time{}, a)
}

func (s *Dex) CreateDeviceRequest(ctx context.Context, a storage.DeviceRequest) error {
	return create(ctx, s, "dreq", a.UserCode, a.Expiry, a)
}

func (s *Dex) CreateDeviceToken(ctx context.Context, a storage.DeviceToken) error {
	return create(ctx, s, "dtok", a.DeviceCode, a.Expiry, a)
}

func (s *Dex) GetAuthRequest(ctx context.Context, id string) (storage.AuthRequest, error) {
	return get[storage.AuthRequest](ctx, s.db, "areq", id)
}

func (s *Dex) GetAuthCode(ctx context.Context, id string) (storage.AuthCode, error) {
	return get[storage.AuthCode](ctx, s.db, "code", id)
}

func (s *Dex) GetClient(ctx context.Context, id string) (storage.Client, error) {
	return get[storage.Client](ctx, s.db, "client", id)
}

func (s *Dex) GetKeys(ctx context.Context) (storage.Keys, error) {
	return get[storage.Keys](ctx, s.db, "keys", "k")
}

func (s *Dex) GetRefresh(ctx context.Context, id string) (storage.RefreshToken, error) {
	return get[storage.RefreshToken](ctx, s.db, "refresh", id)
}

func (s *Dex) GetPassword(ctx context.Context, e string) (storage.Password, error) {
	return get[storage.Password](ctx, s.db, "pw", strings.ToLower(e))
}

func (s *Dex) GetOfflineSessions(ctx context.Context, u, c string) (storage.OfflineSessions, error) {
	return get[storage.OfflineSessions](ctx, s.db, "off", two(u, c))
}

func (s *Dex) GetUserIdentity(ctx context.Context, u, c string) (storage.UserIdentity, error) {
	return get[storage.UserIdentity](ctx, s.db, "uid", two(u, c))
}

func (s *Dex) GetAuthSession(ctx context.Context, id string) (storage.AuthSession, error) {
	return get[storage.AuthSession](ctx, s.db, "sess", id)
}

func (s *Dex) GetConnector(ctx context.Context, id string) (storage.Connector, error) {
	return get[storage.Connector](ctx, s.db, "conn", id)
}

func (s *Dex) GetDeviceRequest(ctx context.Context, id string) (storage.DeviceRequest, error) {
	return get[storage.DeviceRequest](ctx, s.db, "dreq", id)
}

func (s *Dex) GetDeviceToken(ctx context.Context, id string) (storage.DeviceToken, error) {
	return get[storage.DeviceToken](ctx, s.db, "dtok", id)
}

func (s *Dex) ListClients(ctx context.Context) ([]storage.Client, error) {
	return list[storage.Client](ctx, s, "client")
}

func (s *Dex) ListRefreshTokens(ctx context.Context) ([]storage.RefreshToken, error) {
	return list[storage.RefreshToken](ctx, s, "refresh")
}

// ListAuthCodes is not of dex's interface: a person's codes end with their logins.
func (s *Dex) ListAuthCodes(ctx context.Context) ([]storage.AuthCode, error) {
	return list[storage.AuthCode](ctx, s, "code")
}

// ListAuthRequests is not of dex's interface either: they become codes.
func (s *Dex) ListAuthRequests(ctx context.Context) ([]storage.AuthRequest, error) {
	return list[storage.AuthRequest](ctx, s, "areq")
}

func (s *Dex) ListPasswords(ctx context.Context) ([]storage.Password, error) {
	return list[storage.Password](ctx, s, "pw")
}

func (s *Dex) ListConnectors(ctx context.Context) ([]storage.Connector, error) {
	return list[storage.Connector](ctx, s, "conn")
}

func (s *Dex) ListUserIdentities(ctx context.Context) ([]storage.UserIdentity, error) {
	return list[storage.UserIdentity](ctx, s, "uid")
}

func (s *Dex) ListAuthSessions(ctx context.Context) ([]storage.AuthSession, error) {
	return list[storage.AuthSession](ctx, s, "sess")
}

func (s *Dex) DeleteAuthRequest(ctx context.Context, id string) error { return del(ctx, s, "areq", id) }

func (s *Dex) DeleteAuthCode(ctx context.Context, id string) error { return del(ctx, s, "code", id) }

func (s *Dex) DeleteClient(ctx context.Context, id string) error { return del(ctx, s, "client", id) }

func (s *Dex) DeleteRefresh(ctx context.Context, id string) error { return del(ctx, s, "refresh", id) }

func (s *Dex) DeletePassword(ctx context.Context, e string) error {
	return del(ctx, s, "pw", strings.ToLower(e))
}

func (s *Dex) DeleteOfflineSessions(ctx context.Context, u, c string) error {
	return del(ctx, s, "off", two(u, c))
}

func (s *Dex) DeleteUserIdentity(ctx context.Context, u, c string) error {
	return del(ctx, s, "uid", two(u, c))
}

func (s *Dex) DeleteAuthSession(ctx context.Context, id string) error { return del(ctx, s, "sess", id) }

func (s *Dex) DeleteConnector(ctx context.Context, id string) error { return del(ctx, s, "conn", id) }

func (s *Dex) UpdateClient(ctx context.Context, id string, f func(storage.Client) (storage.Client, error)) error {
	return update(ctx, s, "client", id, nil, f)
}

func (s *Dex) UpdateKeys(ctx context.Context, f func(storage.Keys) (storage.Keys, error)) error {
	if err := create(ctx, s, "keys", "k", time.Time{}, storage.Keys{}); err != nil && !errors.Is(err, storage.ErrAlreadyExists) {
		return err
	}
	return update(ctx, s, "keys", "k", nil, f)
}

func (s *Dex) UpdateAuthRequest(ctx context.Context, id string, f func(storage.AuthRequest) (storage.AuthRequest, error)) error {
	return update(ctx, s, "areq", id, func(a storage.AuthRequest) time.Time { return a.Expiry }, f)
}

func (s *Dex) UpdateRefreshToken(ctx context.Context, id string, f func(storage.RefreshToken) (storage.RefreshToken, error)) error {
	return update(ctx, s, "refresh", id, nil, f)
}

func (s *Dex) UpdatePassword(ctx context.Context, e string, f func(storage.Password) (storage.Password, error)) error {
	return update(ctx, s, "pw", strings.ToLower(e), nil, f)
}

func (s *Dex) UpdateOfflineSessions(ctx context.Context, u, c string, f func(storage.OfflineSessions) (storage.OfflineSessions, error)) error {
	return update(ctx, s, "off", two(u, c), nil, f)
}

func (s *Dex) UpdateUserIdentity(ctx context.Context, u, c string, f func(storage.UserIdentity) (storage.UserIdentity, error)) error {
	return update(ctx, s, "uid", two(u, c), nil, f)
}

func (s *Dex) UpdateAuthSession(ctx context.Context, id string, f func(storage.AuthSession) (storage.AuthSession, error)) error {
	return update(ctx, s, "sess", id, sessExp, f)
}

func (s *Dex) UpdateConnector(ctx context.Context, id string, f func(storage.Connector) (storage.Connector, error)) error {
	return update(ctx, s, "conn", id, nil, f)
}

func (s *Dex) UpdateDeviceToken(ctx context.Context, id string, f func(storage.DeviceToken) (storage.DeviceToken, error)) error {
	return update(ctx, s, "dtok", id, func(a storage.DeviceToken) time.Time { return a.Expiry }, f)
}

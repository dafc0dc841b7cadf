from typing import Any

from django.db import transaction
from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework import serializers, status
from rest_framework.decorators import action
from rest_framework.permissions import BasePermission, IsAdminUser, IsAuthenticated
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.viewsets import GenericViewSet

from profiles import cache
from profiles.api.serializers import (
    USER_ID,
    NameSerializer,
    ProfileChangeSerializer,
    ProfileSerializer,
    ProfileStatsSerializer,
    UserIdField,
)
from profiles.cache import CachedProfile
from profiles.erasure import erase
from profiles.models import Profile, ProfileQuerySet
from profiles.rollout.decision import is_service_on

_USER_ID = OpenApiParameter("user_id", USER_ID, "path")


class ProfileViewSet(GenericViewSet[Profile]):
    """The stored names of a MAX user."""

    queryset = Profile.objects.all()
    serializer_class = ProfileSerializer
    lookup_field = "user_id"

    def profiles(self) -> ProfileQuerySet:
        return Profile.objects.all()

    def may_see(self, user_id: str) -> bool:
        """Return whether the requesting user may see this person's profile; the employees app overrides this."""
        return True

    def get_permissions(self) -> list[BasePermission]:
        return [IsAuthenticated()] if self.request.method == "GET" else [IsAdminUser()]

    @extend_schema(responses=ProfileSerializer, parameters=[_USER_ID, OpenApiParameter("X-Service", str, "header")])
    def retrieve(self, request: Request, user_id: str) -> Response:
        """Return a profile. A service that sends its name gets an unknown profile while the rollout keeps it off."""
        user_id = checked_id(user_id)
        service = request.headers.get("X-Service")
        is_shown = self.may_see(user_id) and (service is None or is_service_on(service))
        profile = cache.find(user_id).profile if is_shown else None
        return Response(ProfileSerializer(profile or CachedProfile.unknown(user_id)).data)

    @extend_schema(request=ProfileChangeSerializer, responses=ProfileSerializer, parameters=[_USER_ID])
    def update(self, request: Request, user_id: str) -> Response:
        """Set the given names. An absent field stays unchanged; an empty one clears the name."""
        serializer = ProfileChangeSerializer(data=request.data)
        serializer.is_valid(raise_exception=True)
        fields = {name.removeprefix("max_"): value for name, value in serializer.validated_data.items()}
        return _store_names(checked_id(user_id), fields)

    @extend_schema(responses={204: None}, parameters=[_USER_ID])
    def destroy(self, request: Request, user_id: str) -> Response:
        """Erase a person everywhere. Employees stay, without the name; the audit row does not name the person."""
        erase(checked_id(user_id), by=request.user.get_username(), reason="by the API")
        return Response(status=status.HTTP_204_NO_CONTENT)

    @extend_schema(request=NameSerializer, responses=ProfileSerializer, parameters=[_USER_ID])
    @action(detail=True, methods=["post"], url_path="name")
    def set_name(self, request: Request, user_id: str) -> Response:
        """Set the user-provided name. Names in webhook updates never overwrite it."""
        serializer = NameSerializer(data=request.data)
        serializer.is_valid(raise_exception=True)
        return _store_names(checked_id(user_id), {"user_provided_name": serializer.validated_data["name"]})

    @extend_schema(responses=ProfileStatsSerializer)
    @action(detail=False)
    def stats(self, request: Request) -> Response:
        """Count the profiles, by source and with a full name."""
        return Response(ProfileStatsSerializer(self.profiles().stats()).data)


def checked_id(user_id: str) -> str:
    field: Any = UserIdField()
    try:
        return str(field.run_validation(user_id))
    except serializers.ValidationError as error:
        raise serializers.ValidationError({"user_id": error.detail}) from None


@transaction.atomic
def _store_names(user_id: str, fields: dict[str, str]) -> Response:
    changed = cache.store_names(user_id, fields)
    profile = changed[0] if changed else Profile.objects.filter(user_id=user_id).first()
    return Response(ProfileSerializer(CachedProfile.of(profile) if profile else CachedProfile.unknown(user_id)).data)

# Somebody who is signed in somewhere. The token is what the cookie has.
class Session < ActiveRecord::Base
  belongs_to :user
  has_secure_token
end
